"""Measures how well shift and focal length are recovered, on depth maps whose truth is known.

    python -m launch.evaluate --data SET,SET --model runs/both --out evaluated

SET is a prepared set, or a folder with a manifest.json of depth maps and their cameras.  Maps are
cropped about the principal point and get an unknown scale and shift; methods do not get the camera.
The estimates of networks and geometry, and plain constants, are compared with the truth.
"""

from absl import flags

from launch import program
from launch.evaluation import flags as evaluation_flags

flags.adopt_module_key_flags(evaluation_flags)


def main() -> int:
    """From flags to a folder of results; the exit status is 1 where a map failed."""
    # Imported here for start-up: flags are checked, and --help answered, without JAX.
    from launch import compiled
    from launch.evaluation.evaluation import evaluate_sets

    compiled.start()
    outcome = evaluate_sets(evaluation_flags.configuration())
    print(outcome.text)
    return program.EXIT_SOME_FAILED if outcome.failed else 0


if __name__ == "__main__":
    program.run(main)
