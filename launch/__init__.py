"""Command-line programs: `python -m launch.prepare`, `.train`, `.infer` and `.demo`."""
