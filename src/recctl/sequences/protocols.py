"""Split protocols: the end of training and the targets in every user's sequence."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from recctl.errors import UserError, unknown_name
from recctl.sequences import disk
from recctl.sequences.encode import counted
from recctl.sequences.params import SequenceSplitParams

NO_TARGET = -1
_BINS = 2**12


@dataclass(frozen=True)
class Positions:
    """Three positions per user in the flat arrays, as `SequenceData` documents them."""

    train_end: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]
    cuts: tuple[int, int] | None = None
    """Where validation and test begin, in microseconds since 1970; None without such times."""
    without_history: tuple[int, int] = (0, 0)
    """Users left out of validation and of test because their target has no history."""


@dataclass(frozen=True)
class Protocol:
    """A way to split, and the settings it depends on."""

    split: Callable[[NDArray[np.int64], NDArray[np.int64], SequenceSplitParams], Positions]
    """From offsets (users + 1,) and times (interactions,), which ascend for each user."""
    needs: str
    """What is missing where it leaves no target, and how to fix that."""
    fix: str
    settings: tuple[str, ...] = ()


def leave_one_out(
    offsets: NDArray[np.int64], times: NDArray[np.int64], params: SequenceSplitParams
) -> Positions:
    """The last interaction is the test target, the second last that of validation.

    BERT4Rec (Sun et al. 2019), section 4.2. A user with fewer than three interactions, who would
    keep no history for one of the two, trains only.

    >>> positions = leave_one_out(np.array([0, 4, 6]), np.arange(6), SequenceSplitParams())
    >>> positions.train_end, positions.validation, positions.test
    (array([2, 6]), array([ 2, -1]), array([ 3, -1]))
    """
    ends = offsets[1:]
    enough = ends - offsets[:-1] >= 3
    return Positions(
        train_end=np.where(enough, ends - 2, ends),
        validation=np.where(enough, ends - 2, NO_TARGET),
        test=np.where(enough, ends - 1, NO_TARGET),
    )


def global_time(
    offsets: NDArray[np.int64], times: NDArray[np.int64], params: SequenceSplitParams
) -> Positions:
    """All users are cut at the same two times; targets are interactions at or after a cut.

    Training is what comes before the validation cut. Which interactions are test targets, and where
    their histories end, is `params.targets`: see `SequenceData.held_out`. Where a test history may
    reach beyond the cut (`last`, `successive`), the validation target is a user's last interaction
    before the test cut, else the first after the validation cut. A target without any history
    is left out.
    """
    validation_cut, test_cut = _cuts(times, params)
    starts, ends = offsets[:-1], offsets[1:]
    train_end, test_begin = np.empty_like(starts), np.empty_like(starts)
    for users, rows in disk.by_users(offsets):
        moments = disk.part(times, rows)
        train_end[users] = starts[users] + counted(moments < validation_cut, offsets, users)
        test_begin[users] = starts[users] + counted(moments < test_cut, offsets, users)
    in_validation, in_test = train_end < test_begin, test_begin < ends
    validation, test = train_end, test_begin
    if params.targets in ("last", "successive"):
        validation = np.maximum(test_begin - 1, starts)
        # the first interaction of a new user has no history, the later ones have
        test = ends - 1 if params.targets == "last" else np.maximum(test_begin, starts + 1)
    tested = in_test & (test > starts) & (test < ends)
    validated = in_validation & (validation > starts)
    return Positions(
        train_end=train_end,
        validation=np.where(validated, validation, NO_TARGET),
        test=np.where(tested, test, NO_TARGET),
        cuts=(validation_cut, test_cut),
        without_history=(
            int(np.count_nonzero(in_validation & ~validated)),
            int(np.count_nonzero(in_test & ~tested)),
        ),
    )


PROTOCOLS = {
    "leave-one-out": Protocol(
        leave_one_out, "no user has three interactions", "add longer histories"
    ),
    "global-time": Protocol(
        global_time,
        "no user has interactions on both sides of the cut",
        "change sequence-split.test_from, test_share or validation_share in params.yaml",
        settings=("test_from", "test_share", "validation_share", "targets"),
    ),
}


def protocol(name: str) -> Protocol:
    """The protocol of a name; UserError with the known ones when there is none."""
    if name not in PROTOCOLS:
        raise unknown_name("split protocol", name, sorted(PROTOCOLS))
    return PROTOCOLS[name]


def _cuts(times: NDArray[np.int64], params: SequenceSplitParams) -> tuple[int, int]:
    if params.test_from is not None:
        test_cut = _microseconds(params.test_from)
    else:
        test_cut = _last_share(times, len(times), params.test_share)
    before = sum(
        int(np.count_nonzero(disk.part(times, rows) < test_cut)) for rows in disk.slices(len(times))
    )
    if before == 0:
        raise UserError(
            "the split global-time leaves nothing to train on: no interaction is older than the "
            "test cut",
            "change sequence-split.test_from or test_share in params.yaml",
        )
    return _last_share(times, before, params.validation_share), test_cut


def _last_share(times: NDArray[np.int64], size: int, share: float) -> int:
    """The time at which the last `share` of the `size` earliest interactions begins.

    Equal times stay together.
    """
    kept = int(size * share + 1e-6)  # 0.7 of 10 is 7, whatever the rounding
    return _nth(times, min(size - kept, size - 1))


def _nth(times: NDArray[np.int64], n: int) -> int:
    """The time that `n` others precede when sorted, in a few passes over the log.

    >>> _nth(np.array([50, 10, 40, 10]), 2)
    40
    """
    low = min(int(disk.part(times, rows).min()) for rows in disk.slices(len(times)))
    high = max(int(disk.part(times, rows).max()) for rows in disk.slices(len(times)))
    while low < high:
        width = (high - low) // _BINS + 1
        counts = np.zeros(_BINS, np.int64)
        for rows in disk.slices(len(times)):
            part = disk.part(times, rows)
            inside = part[(part >= low) & (part <= high)]
            counts += np.bincount((inside - low) // width, minlength=_BINS)
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        bin = int(np.searchsorted(before, n, "right")) - 1
        n -= int(before[bin])
        low += bin * width
        high = min(high, low + width - 1)
    return low


def _microseconds(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(
            f"params.yaml: 'sequence-split.test_from': '{text}' is not an ISO 8601 time",
            "write it like 2024-03-01 or 2024-03-01T12:00:00Z",
        ) from None
    moment = moment.replace(tzinfo=moment.tzinfo or UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
