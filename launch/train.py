"""Trains a network on prepared sets, and writes a run that `launch.infer` restores.

    python -m launch.train --data prepared --model_name both --targets 0,2

Stopped by Ctrl-C or SIGTERM it saves first; the same command started again goes on to the bit.
"""

from absl import flags

from launch import program
from launch.training import flags as train_flags
from launch.training import process_flags

flags.adopt_module_key_flags(train_flags)
flags.adopt_module_key_flags(process_flags)


def main() -> int:
    """From flags to a run; the exit status."""
    # Imported here for start-up: flags are checked, and --help answered, without JAX.
    from launch import compiled
    from launch.training import processes
    from launch.training.run import train

    compiled.keep()
    with processes.together():
        return train(train_flags.configuration(), train_flags.run_settings())


if __name__ == "__main__":
    program.run(main)
