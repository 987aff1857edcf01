"""A challenger in the service's own code, in a process apart: its answers and its latency.

The process starts beside the scoring of the models, because its imports take seconds, and is asked
once, when that is over, so that nothing else runs while requests are timed.
"""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recctl.promotion import manifest
from recctl.promotion.judge.evidence import Evidence, Serving
from recctl.promotion.judge.policy import PromotionParams
from recctl.promotion.trial import contenders, golden
from recctl.promotion.trial.scoring import Contender, TestSet
from recctl.redact import redact
from recctl.render.text import Say, one_line

SECONDS = 300.0
"""For loading, answering and timing; a process that takes longer is ended."""
TIMED_REQUESTS = 200
"""Single recommendations timed for p95, in turns; the first few warm up and do not count."""
_WARM_UP = 10


class Failed(Exception):
    """The process gave no answer; why, in a sentence."""


class Process:
    """`recctl.serve.trial`, which answers once."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "recctl.serve.trial", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is ours: `end` ends it
        )

    def ask(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What it answers; Failed where it ends without an answer or takes too long."""
        try:
            out, errors = self._process.communicate(json.dumps(asked).encode(), SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed(f"it did not answer within {SECONDS:g} s") from None
        code = self._process.returncode
        if code < 0:
            raise Failed(f"its process was ended by {signal.Signals(-code).name}")
        if code:
            last = one_line(redact(errors.decode(errors="replace").rstrip().rpartition("\n")[2]))
            raise Failed(f"its process ended with exit code {code} ({last[:300]})")
        found: dict[str, Any] = json.loads(out.splitlines()[-1])
        return found

    def end(self) -> None:
        """Kill it where it still runs."""
        self._process.kill()
        with self._process:  # closes its pipes and waits
            pass


@contextlib.contextmanager
def beside(policy: PromotionParams) -> Iterator[Process | None]:
    """A process that starts while models are scored; None where the policy does not need it."""
    if not policy.serving and not _limits_latency(policy):
        yield None
        return
    process = Process()
    try:
        yield process
    finally:
        process.end()


def tried(
    process: Process | None,
    policy: PromotionParams,
    test: TestSet,
    sides: Mapping[str, Contender],
    evidence: Evidence,
    say: Say,
) -> Evidence:
    """The evidence with how the process answered, and the latency of challenger and champion.

    Raises UserError where the workspace's model changed meanwhile.
    """
    if process is None:
        return evidence
    challenger = sides["challenger"]
    requests = golden.requests(
        test.cases, test.vocabulary, challenger.served, filter_seen=test.params.filter_seen
    )
    seconds: dict[str, list[float]] = {}
    began = time.perf_counter()
    try:
        with contenders.packed(test, challenger) as folder:
            folders = {"challenger": folder}
            if "champion" in sides and _limits_latency(policy):
                folders["champion"] = contenders.version_folder(sides["champion"])
            found = process.ask(_asked(test, sides, folders, requests))
        if (error := found.get("error")) is not None:
            raise Failed(error.replace(str(folder), "the package"))
        seconds = found["seconds"]
        differ = [one.differs(got) for one, got in zip(requests, found["lists"], strict=True)]
        failure = next((one for one in differ if one is not None), None)
    except Failed as error:
        failure = f"the service cannot answer with the challenger: {error}"
    took = f"{time.perf_counter() - began:.1f} s"
    say(failure or f"the service answered {len(requests)} requests in {took}")
    return dataclasses.replace(
        evidence,
        serving=Serving(len(requests), failure),
        conduct={
            name: dataclasses.replace(one, latency_p95_ms=_p95(seconds.get(name)))
            for name, one in evidence.conduct.items()
        },
    )


def _limits_latency(policy: PromotionParams) -> bool:
    return policy.guardrails is not None and policy.guardrails.latency_ratio is not None


def _p95(seconds: list[float] | None) -> float | None:
    return 1000 * float(np.quantile(seconds[_WARM_UP:], 0.95)) if seconds else None


def _asked(
    test: TestSet,
    sides: Mapping[str, Contender],
    folders: Mapping[str, Path],
    requests: list[golden.Request],
) -> dict[str, Any]:
    rng, users = np.random.default_rng(0), len(test.cases)
    timed = TIMED_REQUESTS + _WARM_UP if users and len(folders) > 1 else 0
    chosen = test.cases.select(rng.integers(0, max(users, 1), timed))
    return {
        "root": str(test.layout.root),
        "models": {
            name: {
                "folder": str(folder),
                "files": manifest.of(folder),
                "digest": sides[name].digest,
                "filter_seen": test.filters(sides[name].served),
            }
            for name, folder in folders.items()
        },
        "requests": [
            [one.history, one.rules.k, one.rules.filter_seen, sorted(one.rules.exclude)]
            for one in requests
        ],
        "timed": golden.histories(chosen, test.vocabulary),
    }
