"""Secrets taken out of what people get to read."""

import re


def redact(text: str) -> str:
    """The text with user names, passwords and tokens taken out of the addresses in it.

    >>> redact("no answer from https://ann:s3cret@mlflow.example:5000/api?token=abc&x=1")
    'no answer from https://mlflow.example:5000/api?token=***&x=1'
    """
    text = re.sub(r"(?<=://)[^/\s'\"]*@", "", text)
    secret = r"(?i)([?&][^=&\s]*(?:password|passwd|token|secret|key|signature)[^=&\s]*=)[^&\s'\"]+"
    return re.sub(secret, r"\1***", text)
