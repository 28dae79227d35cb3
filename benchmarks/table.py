"""Tables of measurements: printed, read back, compared."""

import json
import os
import platform
import re
from pathlib import Path

import jax

from benchmarks.measuring import Row

LEAST_NOISE = 0.05
"""Relative: rounds of one run agree better than runs do."""


def in_words(row: Row) -> str:
    """A line of the printed table."""
    aim = "" if row.aim is None else f"{'>' if row.better == 'more' else '<'} {row.aim:g}"
    return (
        f"{row.name:56}{row.value:9.2f} {row.unit:10}+-{100 * row.spread:3.0f} %   {aim:8} "
        f"{row.floor and 'floor ' + row.floor}"
    ).rstrip()


def machine_in_words() -> str:
    """What the figures depend on: processor, cores, accelerator, versions."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists() and (match := re.search(r"model name\s*: (.*)", info.read_text())):
        processor = match[1]
    devices = ", ".join(sorted({device.device_kind for device in jax.devices()}))
    return f"{processor}, {os.cpu_count()} cores, {devices}, jax {jax.__version__}"


def last_table(folder: Path, machine: str) -> dict | None:
    """The newest saved table of this machine, None where there is none."""
    for path in sorted(folder.glob("*.json"), reverse=True):
        table = json.loads(path.read_text())
        if table["machine"] == machine:
            return table
    return None


def differences(before: list[Row], now: list[Row]) -> list[str]:
    """What moved by more than the noise of both runs together."""
    old = {row.name: row for row in before}
    moved = []
    for row in now:
        if row.name not in old or not old[row.name].value:
            continue
        change = row.value / old[row.name].value - 1
        if abs(change) > LEAST_NOISE + row.spread + old[row.name].spread:
            moved.append(f"{row.name} {100 * change:+.0f} %")
    return moved
