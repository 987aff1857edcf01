"""Who runs this process."""

import getpass
import os


def user() -> str:
    """The user's name, or the number where the system knows no name, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"
