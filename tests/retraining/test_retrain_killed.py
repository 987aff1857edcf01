"""A retraining killed at every step: the next one completes it, and everything is there once.

`faults.py` does it in real processes and writes down what it finds; here that is judged.
"""

import signal

import pytest
from faults import Line, judged, outcomes

SAMPLE = (("promoted:killed:250:9",),)
"""Every 250th moment, from the 9th on; `ALL` has every one."""
ALL = (("promoted:killed",), ("rejected:killed",))


def as_it_should_be(lines: list[Line], scenario: str) -> None:
    whole, *ends = lines
    judged(whole, ends, {1, 2} if scenario == "promoted" else {1})
    assert whole["dry"]["ended"] == ("promoted-v2" if scenario == "promoted" else "rejected")
    assert {end["code"] for end in ends} == {-signal.SIGKILL}
    served = [end["left"]["champion"] for end in ends]
    assert served == sorted(served), "the alias moves once, and never back"
    print(f"\n{scenario}: killed at {len(ends)} of {whole['moments']} moments")


@pytest.mark.slow
def test_killed_at_some_of_its_steps(tmp_path_factory: pytest.TempPathFactory) -> None:
    as_it_should_be(outcomes(tmp_path_factory, SAMPLE)["promoted", "killed"], "promoted")


@pytest.mark.faults
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("scenario", ["promoted", "rejected"])
def test_killed_at_every_step(tmp_path_factory: pytest.TempPathFactory, scenario: str) -> None:
    lines = outcomes(tmp_path_factory, ALL)[scenario, "killed"]
    as_it_should_be(lines, scenario)
    whole, *ends = lines
    assert len(ends) == whole["moments"]
    kinds = {(end["name"].split()[0], end["moment"]) for end in ends}
    assert kinds >= {
        *((kind, "before") for kind in ("mkdir", "rename", "remove", "dvc", "git")),
        *((kind, "within") for kind in ("dvc", "git")),
        ("create_run", "before"),
        ("create_model_version", "before"),
        ("log_artifacts", "before"),
    }
