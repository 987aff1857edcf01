"""DVC's remotes, of any kind: which there are, and contents deleted from one."""

import itertools
from collections.abc import Iterable

from recctl import dvc
from recctl.errors import UserError
from recctl.layout import Layout
from recctl.redact import redact


def names(layout: Layout) -> list[str]:
    """The names of all remotes that the configuration defines."""
    return sorted(dvc.config(layout).get("remote", {}))


def remove_from(layout: Layout, name: str, digests: Iterable[str], *, dry: bool) -> int:
    """Delete contents from a remote of any kind, or count them.

    Raises UserError when the remote cannot be reached or does not delete.
    """
    from dvc.fs import get_cloud_fs

    settings, fix = dvc.config(layout), "delete the user's files there"
    if any(settings["remote"][name].get(one) for one in ("version_aware", "worktree")):
        raise UserError("its cloud keeps versions, under names that recctl does not know", fix)
    try:
        kind, options, home = get_cloud_fs(settings, name=name)
        if kind.protocol in ("http", "https"):
            raise NotImplementedError("HTTP cannot delete")
        store = kind(**options)
        paths = [store.join(home, "files", "md5", one[:2], one[2:]) for one in digests]
        _, *found = store.exists([home, *paths])  # the first one shows that the remote answers
        there = list(itertools.compress(paths, found))
        if there and not dry:
            store.remove(there)
    except Exception as error:  # each kind of remote raises its library's errors
        reason = " ".join(redact(str(error)).split()) or type(error).__name__
        raise UserError(f"it deletes nothing ({reason})", fix) from error
    return len(there)
