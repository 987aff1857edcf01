"""Removes secrets from text that people read."""

import re


def redact(text: str) -> str:
    """The text without the user names, passwords and tokens of the addresses in it.

    >>> redact("no answer from https://ann:s3cret@mlflow.example:5000/api?token=abc&x=1")
    'no answer from https://mlflow.example:5000/api?token=***&x=1'
    """
    return _PARAMETER.sub(r"\1***", _USER.sub("", text))


_USER = re.compile(
    r"""(?<=://)(?:
        [^:/@\[\s'"]*:(?:(?!://)[^\s'"])*@          # with a password, which may have / and @
        | [^/\s'"]*@                                # without one
        | [^:/@\[\s'"]*:(?!\s|\d{1,5}\b)            # not a message after host or port
          (?:(?!://)[^@\n])*@                       # with a password of spaces or quotes
    )""",
    re.VERBOSE,
)
"""User and password before a host; rather too much than too little, up to the next address."""

_PARAMETER = re.compile(
    r"""(?ix)([?&;\#](?:
        [^=&\s]*(?:password|passwd|token|secret|key|signature|credential|odbc_connect)[^=&\s]*
        | [^=&\s]*(?:sig|pwd|pass|auth|authorization|code|jwt)(?:[-_.\d][^=&\s]*)?
    )=)[^&\s'"]+"""
)
"""A parameter with a secret's name, before its value."""
