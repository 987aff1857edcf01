"""DVC in a process forked from this one: most of a second less than one that imports it first."""

import os
import warnings

from programs import captured
from recctl import dvc
from recctl.layout import Layout


def ask(layout: Layout, *arguments: str, seconds: float | None = None) -> dvc.Answer:
    """In place of `recctl.dvc.ask`, where it is not at stake how DVC is started and stopped."""

    def command() -> int:
        import colorama
        from dvc.cli import main

        os.chdir(layout.root)
        os.environ.update(dvc.environment(layout))
        colorama.init()  # DVC's colours are for a terminal only
        warnings.simplefilter("ignore")  # those of DVC's own code are no errors
        return int(main(list(arguments)))

    code, out, messages = captured(command)
    return dvc.Answer(code, out, "\n".join(messages.splitlines()))
