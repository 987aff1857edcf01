"""Whether a process runs, also when it ends while it is asked."""

import psutil


def lives(pid: int) -> bool:
    """An ended process whose parent has not asked for it does not run."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
