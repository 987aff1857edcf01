"""How long `recctl promote` takes, start of Python included, with a champion in the registry.

    python benchmarks/promotion.py [--log ml-1m.txt.gz] [--repeats 3]

The log is `user item` lines; without --log one of MovieLens 1M's shape is generated. Challenger and
champion are BERT4Recs with random weights (d=64, 2 layers, length 200): what they recommend does
not affect the time. Policy: the repository's params.yaml. Each run has a new challenger, which
is judged, registered, forced (so that aliases move) and recorded; the champion is loaded from
the registry. The last rows are the other commands that an operator waits for.
"""

import argparse
import contextlib
import io
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

from pipeline import RECCTL, generated, quiet
from recctl.files import write_json
from recctl.layout import Layout
from recctl.models.base import save_model
from recctl.models.bert4rec import Bert4Rec, Encoder
from recctl.sequences.store import SequenceData
from recctl.stages import evaluate, ingest, sequence_split

ROOT = Path(__file__).parents[1]


def project(folder: Path, log: Path) -> Layout:
    """A project with sequences of the log and the repository's policy."""
    (folder / "data").mkdir()
    (folder / "data" / log.name).symlink_to(log.resolve())
    (folder / "dvc.yaml").write_text("stages: {}\n")
    yaml = YAML(typ="safe")
    params = yaml.load(ROOT / "params.yaml")
    params["ingest"] = {"name": "bench", "files": [log.name], "format": "sequences"}
    yaml.dump(params, folder / "params.yaml")
    layout = Layout(folder)
    quiet(ingest.run, layout)
    quiet(sequence_split.run, layout)
    return layout


def challenger(layout: Layout, seed: int) -> None:
    """A workspace as train and evaluate leave it."""
    data = SequenceData.load(layout.sequences)
    encoder = Encoder(data.vocabulary.size, 200, 64, 2, 2, dropout=0.0, attention_dropout=0.0)
    encoder.initialise(torch.Generator().manual_seed(seed))
    about = {"split_fingerprint": data.fingerprint, "epochs": 2, "best_epoch": 1}
    layout.model.mkdir(parents=True, exist_ok=True)
    save_model(Bert4Rec(encoder), layout.model, about)
    data.vocabulary.save(layout.model / "vocabulary.json")
    layout.training.mkdir(parents=True, exist_ok=True)
    (layout.training / "curve.csv").write_text("epoch,loss\n1,1.0\n2,1.0\n")
    write_json(layout.training / "run.json", {"run_id": "0" * 32})
    with contextlib.redirect_stderr(io.StringIO()):
        quiet(evaluate.run, layout)


def seconds(layout: Layout, *arguments: str) -> float:
    """Wall time of one command."""
    began = time.perf_counter()
    done = subprocess.run([RECCTL, *arguments], cwd=layout.root, capture_output=True, check=False)
    taken = time.perf_counter() - began
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--log", type=Path, help="a file of `user item` lines, plain or gzip")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        log = given.log or generated(Path(name) / "log.txt.gz")
        folder = Path(name) / "project"
        folder.mkdir()
        measure(project(folder, log), log.name, given.repeats)


def measure(layout: Layout, log: str, repeats: int) -> None:
    force = ["promote", "--yes", "--force", "--reason", "benchmark"]
    table = Table("command", "seconds, median", "slowest", title=f"{log}, {repeats} runs")
    times = []
    for seed in range(repeats + 1):
        challenger(layout, seed)
        times.append(seconds(layout, *force))
    rows = {"promote, the first model": times[:1], "promote, against a champion": times[1:]}
    rows["promote, nothing to do"] = [seconds(layout, *force) for _ in range(repeats)]
    for command in (["verify"], ["verify", "--all"], ["history"], ["compare", "1", "2"]):
        rows[" ".join(command)] = [seconds(layout, *command) for _ in range(repeats)]
    for name, found in rows.items():
        table.add_row(name, f"{statistics.median(found):.1f}", f"{max(found):.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
