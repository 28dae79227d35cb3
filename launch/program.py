"""What every launcher shares: parse the flags, and turn a user's mistake into one line."""

import contextlib
import gc
import importlib.util
import os
import re
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NoReturn

from absl import app, flags, logging

from launch import soft_flags
from train3d_jax import command
from train3d_jax.errors import Argument, UserError

_PROGRAM = re.compile(rf"(?<![\w/.])(python -m )?launch\.({'|'.join(command.PROGRAMS)})\b")
"""A program as this repository's texts name it."""

_FLAGS = {"run": "model_name"}
"""Flags that have another name than the argument of the library that they are given to."""

COLLECT_AFTER = 100_000
"""Objects between two collections of garbage.  Imports and traced programs are objects that stay;
looking through them takes 1.1 of 14 s of CPU in `launch.infer` with Python's 700, 0.35 s so."""

EXIT_SOME_FAILED = 1
EXIT_WRONG_USE = 2
EXIT_INTERRUPTED = 130
"""128 + SIGINT, what shells expect after Ctrl-C."""


def run(main: Callable[[], int | None]) -> None:
    """Parses the flags, calls `main()`, and exits with what it returns (None counts as 0).

    A flag that is wrong, an argument left over and a `UserError` are each reported in one line, and
    exit with status 2.
    """
    gc.set_threshold(COLLECT_AFTER)
    _name_programs_as_typed()

    def checked(_: list[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # orbax logs every file at level INFO
        with one_line_for_mistakes():
            sys.exit(main() or 0)

    app.run(checked, flags_parser=_parse)


@contextlib.contextmanager
def one_line_for_mistakes() -> Iterator[None]:
    """Ends the program without a traceback on a `UserError`, Ctrl-C, or where JAX has no device."""
    try:
        yield
    except UserError as error:
        print(f"{name()}: {message(error)}", file=sys.stderr)
        sys.exit(EXIT_WRONG_USE)
    except KeyboardInterrupt:
        print(f"{name()}: interrupted", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except (RuntimeError, AssertionError):
        reason = _why_there_is_no_device()
        if reason is None:
            raise
        print(f"{name()}: {reason}", file=sys.stderr)
        sys.exit(EXIT_WRONG_USE)


def _why_there_is_no_device() -> str | None:
    """One line where JAX cannot compute here, as with JAX_PLATFORMS=cuda and no CUDA; or None.

    JAX raises RuntimeError at its first use then, or a bare AssertionError where no plugin of the
    platform is installed; asked for its devices it does so again.
    """
    import jax  # not at the top: some launchers never need it

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        wanted = os.environ.get("JAX_PLATFORMS")
        reason = " ".join(str(error).split()).partition(" (set JAX_PLATFORMS")[0].rstrip(".")
        reason = reason or "no plugin of this platform is installed"
        if wanted:
            return (
                f"JAX_PLATFORMS={wanted}: JAX has no such device here ({reason}); leave it unset, "
                "or set JAX_PLATFORMS=cpu"
            )
        return f"JAX finds no device ({reason}); JAX_PLATFORMS=cpu computes on the CPU"
    return None


def end_now() -> NoReturn:
    """Ends the process with status 0 at once: at Python's own end a thread that compiles aborts."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def message(error: UserError) -> str:
    """The message of an error; the library's arguments are spelled as the flags that set them."""
    return as_typed(error.spelled(flag_of))


def flag_of(argument: Argument) -> str:
    """An argument of the library as the flag that sets it."""
    flag = f"--{_FLAGS.get(argument.name, argument.name)}"
    if argument.value is None:
        return flag
    several = isinstance(argument.value, tuple | list)
    value = ",".join(map(str, argument.value)) if several else argument.value
    return f"{flag}={value}"


class Stop:
    """Whether the user or the system asked to stop.

    Attributes:
      exit_status: to end with, once everything is saved.
    """

    def __init__(self) -> None:
        self.exit_status = 0
        self._asked = False

    def __call__(self) -> bool:
        """True from the first request on."""
        return self._asked

    def ask(self, number: int, _: object) -> None:
        """Handles a signal; a second Ctrl-C does not wait."""
        if self._asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._asked = True
        self.exit_status = EXIT_INTERRUPTED if number == signal.SIGINT else 0
        # Not print: a signal may come while print is at work.
        os.write(2, f"\n{name()}: saving, then stopping\n".encode())


@contextlib.contextmanager
def stop_when_asked() -> Iterator[Stop]:
    """SIGTERM and Ctrl-C ask to stop, in place of ending the program, while the context lasts."""
    stop = Stop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, stop.ask) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def define_aliases(**aliases: str) -> None:
    """Other spellings of flags: `define_aliases(num_w="num_workers")`.

    They are left out of `--help` and of `flags_of_this_program`, where each flag stands once.
    """
    for alias, flag in aliases.items():
        flags.DEFINE_alias(alias, flag)


def flags_of_this_program(leave_out: Collection[str] = ()) -> str:
    """The program's own flags and their values, as a flag file that `--flagfile` reads back."""
    own = flags.FLAGS.get_key_flags_for_module(sys.argv[0])
    lines = (flag.serialize() for flag in own if flag.name not in leave_out)
    return "".join(f"{line}\n" for line in lines if line)


def _parse(argv: list[str]) -> list[str]:
    asks_for_help = any(argument.lstrip("-").startswith("help") for argument in argv[1:])
    with one_line_for_mistakes():
        try:
            left_over = flags.FLAGS(soft_flags.joined(argv))[1:]
        except SystemExit:
            # absl exits with 1 after it has printed the help that was asked for.
            sys.exit(0 if asks_for_help else EXIT_WRONG_USE)
        except flags.Error as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise UserError(f"{reason}; --help shows all flags") from None
        if left_over:
            raise UserError(f"does not know what to do with {' '.join(left_over)}")
    return argv[:1]


def name() -> str:
    """The name that the user typed, for messages: `launch.prepare`, or `train3d prepare`."""
    file = Path(sys.argv[0])
    return as_typed(f"launch.{file.parent.name if file.stem == '__main__' else file.stem}")


def as_typed(text: str) -> str:
    """A text with programs named as this one was started.

    `python -m launch.infer` and `launch.infer` become `train3d infer` where this process was
    started as `train3d`, and stay otherwise.
    """
    return _PROGRAM.sub(r"train3d \2", text) if command.is_running() else text


def _name_programs_as_typed() -> None:
    """Has `--help` name programs as this one was started."""
    main = sys.modules["__main__"]
    main.__doc__ = as_typed(main.__doc__ or "")
    for flag in flags.FLAGS.get_key_flags_for_module(sys.argv[0]):
        flag.help = as_typed(flag.help or "")


def require(extra: str, *modules: str, wanted_by: str = "") -> None:
    """Makes sure that modules are installed which only some programs need.

    Args:
      extra: of this package, that installs them.
      *modules: each the name of a module, or alternatives separated by `|`.
      wanted_by: the flag that needs them; empty where the program does.

    Raises:
      UserError: one is missing; the message is what to type.
    """
    for module in modules:
        specs = [importlib.util.find_spec(each) for each in module.split("|")]
        # A folder of that name on the path is a namespace package, which has no file.
        if not any(spec and spec.origin for spec in specs):
            missing = module.replace("|", " or ")
            flag = f"{wanted_by}: " if wanted_by else ""
            raise UserError(f"{flag}needs {missing}: pip install 'train3d-jax[{extra}]'")
