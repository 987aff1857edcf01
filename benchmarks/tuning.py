"""From the preset to the best settings: what `recctl tune` finds in how many minutes.

    python benchmarks/tuning.py FOLDER [--data ml-100k --from LOG] [--model sasrec] [--minutes 30]
        [--jobs 1]

FOLDER becomes a copy of this project with the data set named (the starter's without --data); called
again it goes on there. It prints the validation NDCG@10 of the preset and each better trial with
the minutes until it ended, then the test HR@10 and NDCG@10 of preset and best, one seed.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", default="starter", help="a name of 'recctl data use'")
    parser.add_argument("--from", dest="log", help="its file or folder")
    parser.add_argument("--model", default="sasrec")
    parser.add_argument("--minutes", default="30")
    parser.add_argument("--jobs", default="1")
    given = parser.parse_args()
    log = ["--from", str(Path(given.log).resolve())] if given.log else []
    project(given.folder, given.data, *log)
    options = ["--minutes", given.minutes, "--jobs", given.jobs, "--json"]
    found = json.loads(run(given.folder, "recctl", "tune", given.model, *options))
    first = found["trials"][0]
    best = first
    show("preset", first)
    for trial in found["trials"]:
        if (
            trial["state"] == "complete"
            and trial["validation_ndcg@10"] > best["validation_ndcg@10"]
        ):
            best = trial
            show(f"trial {trial['trial']}", trial)
    states = [trial["state"] for trial in found["trials"]]
    counts = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
    print(f"{len(states)} trials in {found['minutes']:.1f} minutes: {counts}")
    print(best["settings"])
    for name, trial in (("preset", first), ("best", best)):
        print(f"test, {name}: {test(given.folder, given.model, trial['settings'])}")


def project(folder: Path, *data: str) -> None:
    """Make the folder a copy of this project with the log that `recctl data use` is given, split.

    A folder that exists is left as it is.
    """
    if folder.exists():
        return
    run(ROOT, "git", "clone", "--quiet", str(ROOT), str(folder.resolve()))
    run(folder, "recctl", "data", "use", *data)
    run(folder, "dvc", "repro", "sequence-split")


def show(name: str, trial: dict[str, Any]) -> None:
    ndcg, minutes = trial["validation_ndcg@10"], trial["minutes"]
    print(f"{name}: validation NDCG@10 {ndcg:.4f} after {minutes:.1f} minutes", flush=True)


def test(folder: Path, model: str, settings: dict[str, Any]) -> str:
    """The test figures of a model trained with some settings."""
    options = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    board = json.loads(run(folder, "recctl", "leaderboard", model, *options, "--json"))
    figures = board["rows"][0]["figures"]["full"]
    return ", ".join(f"{name} {one['value']:.4f}" for name, one in figures.items())


def run(folder: Path, program: str, *arguments: str) -> str:
    """What a program of this environment prints on stdout, in a folder."""
    path = os.pathsep.join([str(BIN), os.environ["PATH"]])
    done = subprocess.run(
        [program, *arguments],
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    return done.stdout


if __name__ == "__main__":
    main()
