"""Command-line programs: `python -m launch.prepare`, `.train`, `.infer`, `.evaluate`, `.view`.

Here: one short program each (flags, a frozen configuration, one call), and a package for the parts
of each.  Not here: anything that a user of the library needs.
"""

import importlib.util
import logging
import os
import sys

# Without a home that it can write to, matplotlib warns twice, and works in a temporary folder.
logging.getLogger("matplotlib").setLevel(logging.ERROR)


def _refuse_foreign_data() -> None:
    """Ends the program in one line where `import data` would find another package than ours.

    `python -m` looks for packages in the current folder first.  That package is not imported.
    """
    spec = importlib.util.find_spec("data")
    place = spec and spec.origin
    ours = os.path.join(os.path.dirname(os.path.dirname(__file__)), "data", "__init__.py")
    if place is None or os.path.realpath(place) == os.path.realpath(ours):
        return  # a missing package has a traceback that says so
    if os.path.basename(place) == "__init__.py":
        place = os.path.dirname(place)
    folder, name = os.path.split(os.path.abspath(place))
    way_out = (
        "run from another folder, or with `python -P` (PYTHONSAFEPATH=1)"
        if folder == os.getcwd()
        else "take that folder off PYTHONPATH"
    )
    print(
        f"launch: {name} in {folder} hides the package `data` of train3d-jax; {way_out}",
        file=sys.stderr,
    )
    sys.exit(2)


_refuse_foreign_data()
