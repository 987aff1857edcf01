"""The process in which a promotion tries models with the service's own code.

    python -m recctl.serve.trial PID

reads what is asked as JSON from standard input (see `answers`) and writes the answers as its last
line, as JSON. It ends with the process PID that started it, also while it imports the rest.
"""

import asyncio
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recctl.serve.champion import Champion


def answers(asked: dict[str, Any]) -> dict[str, Any]:
    """The lists of the challenger, and the seconds of single requests by every model.

    `asked` has `root` (the project's), `models` (by name `folder`, `files`, `digest` and
    `filter_seen`), `requests` (each a history, k, whether seen items are left out, and the items
    excluded) and `timed` (histories, each asked of every model in turn). Where a model cannot be
    loaded or does not answer there is only `error`, a sentence.
    """
    from recctl.errors import UserError

    try:
        return asyncio.run(_answers(asked))
    except (UserError, OSError) as error:
        # without the fix, which is for versions that serve
        what = error.what if isinstance(error, UserError) else str(error)
        return {"error": " ".join(what.split())}


async def _answers(asked: dict[str, Any]) -> dict[str, Any]:
    from recctl.recommend import Rules
    from recctl.serve.batches import Batches

    models = {name: _served(asked["root"], one) for name, one in asked["models"].items()}
    batches = {name: Batches(one) for name, one in models.items()}
    tasks = [asyncio.create_task(one.run()) for one in batches.values()]
    try:
        lists = await asyncio.gather(
            *(
                batches["challenger"].answer(history, Rules(k, filter_seen, frozenset(exclude)))
                for history, k, filter_seen, exclude in asked["requests"]
            )
        )
        seconds: dict[str, list[float]] = {name: [] for name in models}
        for history in asked["timed"]:
            for name, one in batches.items():
                rules = Rules(10, asked["models"][name]["filter_seen"])
                began = time.perf_counter()
                await one.answer(history, rules)
                seconds[name].append(time.perf_counter() - began)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return {"lists": [[best.item_id for best in one.best] for one in lists], "seconds": seconds}


def _served(root: str, model: dict[str, Any]) -> "Champion":
    """What the service answers with, once this model has taken over."""
    from recctl.layout import Layout
    from recctl.render.text import echo
    from recctl.serve.champion import Champion, Loaded, sound

    champion = Champion(Layout(Path(root)), echo)
    served = sound(Path(model["folder"]), model["files"], model["digest"])
    champion.current = Loaded(0, 0, "", served)
    return champion


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with, args=[int(sys.argv[1])], daemon=True).start()
    import recctl.serve.batches  # noqa: F401 - while there is nothing to answer
    from recctl.render.text import echo

    if text := sys.stdin.read():  # else there was nothing to ask
        echo(json.dumps(answers(json.loads(text))))
