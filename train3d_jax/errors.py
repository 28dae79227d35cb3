"""The exceptions that stand for a mistake that the user can mend; and one to tell from them."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

_LOST = re.compile("(ABORTED|CANCELLED|DEADLINE_EXCEEDED|INTERNAL|UNAVAILABLE|UNKNOWN): ")


_MOST_LETTERS = 60
"""Of a value in a message: an array's text has many lines."""


class UserError(Exception):
    """Something that the user can put right: a path, an argument, a broken file.

    The message is one line that names the file or argument, the value, and the way out.  The
    launchers print it without a traceback and exit with status 2; every other exception is a defect
    of ours.
    """


class Argument(NamedTuple):
    """An argument in the message of an `ArgumentError`: as text `space='depth'`, or `model`.

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


class ArgumentError(UserError):
    """A `UserError` about arguments; its message spells them as Python does.

    A program whose flags have these names can spell them as flags:

    >>> error = ArgumentError(Argument("model"), ": covers no shift; give ", Argument("targets", 0))
    >>> print(error)
    model: covers no shift; give targets=0
    >>> error.spelled(lambda argument: f"--{argument}")
    '--model: covers no shift; give --targets=0'
    """

    def __init__(self, *parts: str | Argument):
        # All parts stay in `args`, so that the error survives the way back from a worker process.
        super().__init__(*parts)

    def spelled(self, spell: Callable[[Argument], str]) -> str:
        """The message with every argument as `spell` writes it."""
        return "".join(spell(part) if isinstance(part, Argument) else part for part in self.args)

    def __str__(self) -> str:
        return self.spelled(str)


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
