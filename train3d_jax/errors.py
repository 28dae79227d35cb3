"""The one exception that stands for a mistake that the user can mend."""


class UserError(Exception):
    """Something that the user can put right: a path, a flag's value, a broken file.

    The message is one line that names the file or flag, the value, and the way out.  The launchers
    print it without a traceback and exit with status 2; every other exception is a defect of ours.
    """
