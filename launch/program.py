"""What every launcher shares: start absl, and turn a user's mistake into one line and a status."""

import os
import sys
from collections.abc import Callable

from absl import app, flags, logging

from train3d_jax.errors import UserError

EXIT_SOME_FAILED = 1
EXIT_WRONG_USE = 2


def run(main: Callable[[], int | None]) -> None:
    """Parses the flags, calls `main()`, and exits with what it returns (None counts as 0).

    A `UserError` is printed as one line and exits with status 2; Ctrl-C exits with 130, as shells
    expect.
    """

    def checked(argv: list[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # orbax tells of every file at level INFO
        if len(argv) > 1:
            raise app.UsageError(f"does not know what to do with: {' '.join(argv[1:])}")
        try:
            status = main()
        except UserError as error:
            print(f"{program_name()}: {error}", file=sys.stderr)
            status = EXIT_WRONG_USE
        except KeyboardInterrupt:
            print(f"{program_name()}: interrupted", file=sys.stderr)
            status = 130
        sys.stdout.flush()
        sys.exit(status or 0)

    app.run(checked)


def program_name() -> str:
    """The name that the user typed after `python -m`, for messages: `launch.prepare`."""
    return f"launch.{os.path.splitext(os.path.basename(sys.argv[0]))[0]}"


def define_aliases(**aliases: str) -> None:
    """Other spellings of flags: `define_aliases(num_w="num_workers")`.

    They are left out of `--help` and of `flags_of_this_program`, where each flag stands once.
    """
    for alias, flag in aliases.items():
        flags.DEFINE_alias(alias, flag)


def flags_of_this_program() -> str:
    """The program's own flags and their values, as a flag file that `--flagfile` reads back."""
    lines = (flag.serialize() for flag in flags.FLAGS.get_key_flags_for_module(sys.argv[0]))
    return "".join(f"{line}\n" for line in lines if line)
