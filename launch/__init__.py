"""Command-line programs: `python -m launch.prepare`, `launch.train`, `launch.infer`, `launch.demo`."""
