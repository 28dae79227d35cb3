"""The one exception that stands for a mistake that the user can mend; and one to tell from it."""

import re

_LOST = re.compile("(ABORTED|CANCELLED|DEADLINE_EXCEEDED|INTERNAL|UNAVAILABLE|UNKNOWN): ")


class UserError(Exception):
    """Something that the user can put right: a path, a flag's value, a broken file.

    The message is one line that names the file or flag, the value, and the way out.  The launchers
    print it without a traceback and exit with status 2; every other exception is a defect of ours.
    """


def is_lost_process(error: Exception) -> bool:
    """Whether what JAX raised says that another process of several is not to be reached.

    It raises that as JaxRuntimeError or, out of some compiled functions, as ValueError; before
    either stands a code of absl's.
    """
    return isinstance(error, RuntimeError | ValueError) and bool(_LOST.match(str(error)))
