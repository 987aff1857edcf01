"""What a user can get wrong, said in one line."""

import errno
import os


class UserError(ValueError):
    """A mistake or a circumstance that the user can mend; the command line ends with exit code 2.

    The message is one line: what is wrong, where, and how to mend it.

    >>> str(UserError("no file 'log.csv'", "give the path of an existing file"))
    "no file 'log.csv'; give the path of an existing file"
    """

    def __init__(self, what: str, fix: str | None = None) -> None:
        super().__init__(f"{what}; {fix}" if fix else what)
        self.what = what


class MayPass(UserError):
    """A circumstance that may pass by itself (a server away, a lock held): worth a retry."""


def type_of(error: UserError) -> type[UserError]:
    """What to raise in place of an error that is told in more words: MayPass stays one."""
    return MayPass if isinstance(error, MayPass) else UserError


def unknown_name(kind: str, name: str, known: list[str]) -> UserError:
    """The error for a name that is not in a table of names, with the nearest ones first."""
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return UserError(f"unknown {kind} '{name}'", f"{hint}known: {', '.join(known)}")


def circumstance(error: OSError) -> UserError | None:
    """The same error in one line, where it is of the machine and not of recctl; None where it is.

    >>> str(circumstance(OSError(28, "No space left on device", "/data/log.csv")))
    'No space left on device at /data/log.csv; free some disk space and run the command again'
    """
    if error.errno not in _FIXES:
        return None
    where = f" at {error.filename}" if error.filename else ""
    return UserError(f"{os.strerror(error.errno)}{where}", _FIXES[error.errno])


_FIXES = {
    errno.ENOSPC: "free some disk space and run the command again",
    errno.EDQUOT: "your disk quota is used up: free some space and run the command again",
    errno.EACCES: "check the permissions of this path",
    errno.EROFS: "the file system is read-only: use a project folder that can be written",
    errno.EISDIR: "a folder stands where a file should be: move it away",
    errno.EEXIST: "a file stands where a folder should be: move it away",
    errno.ENOTDIR: "a file stands where a folder should be: move it away",
}
