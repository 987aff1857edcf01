"""What a user can get wrong, said in one line."""


class UserError(ValueError):
    """A mistake or a circumstance that the user can mend; the command line ends with exit code 2.

    The message is one line: what is wrong, where, and how to mend it.

    >>> str(UserError("no file 'log.csv'", "give the path of an existing file"))
    "no file 'log.csv'; give the path of an existing file"
    """

    def __init__(self, what: str, fix: str | None = None) -> None:
        super().__init__(f"{what}; {fix}" if fix else what)


def unknown_name(kind: str, name: str, known: list[str]) -> UserError:
    """The error for a name that is not in a table of names, with the nearest ones first."""
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return UserError(f"unknown {kind} '{name}'", f"{hint}known: {', '.join(known)}")
