"""Flags that are on or off, or a number: `--name`, `--noname`, `--name 0.05`, `--name=0.05`."""

from collections.abc import Sequence
from typing import Any

from absl import flags

# Flags belong to the modules that define them here.
flags.disclaim_key_flags()


class _Parser(flags.BooleanParser):
    """True, False, or a number above 0 and up to 1."""

    syntactic_help = "nothing, or a number above 0 and up to 1"

    def parse(self, argument: Any) -> Any:
        try:
            return super().parse(argument)
        except (TypeError, ValueError):
            pass
        try:
            value = float(argument)
        except (TypeError, ValueError):
            value = 0.0
        if not 0 < value <= 1:
            raise ValueError(f"give {self.syntactic_help}")
        return value

    def flag_type(self) -> str:
        return "bool or number"


class _Serializer(flags.ArgumentSerializer[Any]):
    def serialize(self, value: Any) -> str:
        return str(value).lower()


class _Flag(flags.Flag[Any]):
    """A flag that `define` made."""


def define(name: str, default: bool, text: str) -> flags.FlagHolder[Any]:
    """Defines a flag whose value is a bool, or a number above 0 and up to 1."""
    flag = _Flag(_Parser(), _Serializer(), name, default, text)
    flag.boolean = True  # its value may be left out
    return flags.DEFINE_flag(flag)


def joined(argv: Sequence[str]) -> list[str]:
    """Arguments with `--name 0.05` of such flags written as `--name=0.05`, as absl wants it."""
    result: list[str] = []
    for argument in argv:
        before = result[-1].lstrip("-") if result and result[-1].startswith("-") else ""
        if (
            before in flags.FLAGS
            and isinstance(flags.FLAGS[before], _Flag)
            and _is_number(argument)
        ):
            result[-1] += f"={argument}"
        else:
            result.append(argument)
    return result


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
