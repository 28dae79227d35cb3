"""The exceptions that stand for a mistake that the user can mend; and one to tell from them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

_LOST = re.compile("(ABORTED|CANCELLED|DEADLINE_EXCEEDED|INTERNAL|UNAVAILABLE|UNKNOWN): ")


_MOST_LETTERS = 60
"""Of a value in a message: an array's text has many lines."""


class Argument(NamedTuple):
    """An argument in the message of a `UserError`: as text `space='depth'`, or `model`.

    Attributes:
      name: of the parameter, or of the field of a configuration.
      value: what was given, or what to give; None for the name alone.
    """

    name: str
    value: Any = None

    def __str__(self) -> str:
        if self.value is None:
            return self.name
        return f"{self.name}={one_line(self.value)}"


class UserError(Exception):
    """Something that the user can put right: a path, an argument, a broken file.

    The message is one line that names the file or argument, the value, and the way out; it spells
    arguments as Python does.  The programs print it without a traceback and exit with status 2;
    every other exception is a defect of ours.

    A program whose flags have the names of the arguments can spell them as flags:

    >>> error = UserError(Argument("model"), ": covers no shift; give ", Argument("targets", 0))
    >>> print(error)
    model: covers no shift; give targets=0
    >>> error.spelled(lambda argument: f"--{argument}")
    '--model: covers no shift; give --targets=0'
    """

    def __init__(self, *parts: object):
        # All parts stay in `args`, so that the error survives the way back from a worker process.
        super().__init__(*parts)

    def spelled(self, spell: Callable[[Argument], str]) -> str:
        """The message with every argument as `spell` writes it."""
        return _joined(self.args, spell)

    def __str__(self) -> str:
        return self.spelled(str)


class ArgumentError(UserError):
    """A `UserError` about arguments."""


class DataError(UserError):
    """A file of data that cannot be used.

    Attributes:
      file: the file at fault.
    """

    def __init__(self, file: Path | str, *reason: object):
        super().__init__(str(file), *reason)
        self.file = str(file)

    @property
    def reason(self) -> str:
        """What is wrong with the file, on one line."""
        return self.reason_spelled(str)

    def reason_spelled(self, spell: Callable[[Argument], str]) -> str:
        """The reason with every argument as `spell` writes it."""
        return " ".join(_joined(self.args[1:], spell).split())

    def spelled(self, spell: Callable[[Argument], str]) -> str:
        """The file and the reason, with every argument as `spell` writes it."""
        return f"{self.file}: {self.reason_spelled(spell)}"


def _joined(parts: tuple[object, ...], spell: Callable[[Argument], str]) -> str:
    return "".join(spell(part) if isinstance(part, Argument) else str(part) for part in parts)


def one_line(value: Any) -> str:
    """A value as a message shows it: text in quotes, on one line, its end left out where long."""
    text = " ".join((repr(value) if isinstance(value, str) else str(value)).split())
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}..."


def is_lost_process(error: Exception) -> bool:
    """Whether what JAX raised says that another process of several is not to be reached.

    It raises that as JaxRuntimeError or, out of some compiled functions, as ValueError; before
    either stands a code of absl's.
    """
    return isinstance(error, RuntimeError | ValueError) and bool(_LOST.match(str(error)))
