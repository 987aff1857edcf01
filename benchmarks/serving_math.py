"""A network's scores on a CPU by PyTorch as it is, by torch.compile, ONNX Runtime and OpenVINO.

    pip install onnx onnxscript onnxruntime openvino     # those that are missing are left out
    python benchmarks/serving_math.py [--threads 1]

Random weights of the starter's shape and of MovieLens 1M's, without rotary positions: ONNX has no
complex numbers, by which ours are turned. Batches are of 1 and of 32 histories. The
time is that of the whole `score`: tokens, network, product with the catalogue. "same lists" says
whether the ten best items are those of PyTorch, in the same order.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from recctl.evaluation.ranking import top_items
from recctl.models import NEURAL
from recctl.models.encoder import SequenceEncoder, model_input
from recctl.models.shapes import TransformerShape
from recctl.sequences.store import Histories

SHAPES = {
    "starter": (
        1_406,
        TransformerShape(max_length=50, hidden_size=64, layers=2, heads=2, rotary=False),
        12,
    ),
    "ml-1m": (
        3_416,
        TransformerShape(max_length=200, hidden_size=128, layers=2, heads=2, rotary=False),
        160,
    ),
}
"""Items, network, items of a history."""
Score = Callable[[Histories], Tensor]


class Whole(nn.Module):
    """Tokens to scores, as one graph."""

    def __init__(self, encoder: SequenceEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, tokens: Tensor, real: Tensor, last: Tensor) -> Tensor:
        hidden = self.encoder(tokens, real, last[:, None])[:, 0]
        return torch.addmm(self.encoder.item_bias, hidden, self.encoder.catalogue().T)


def compiled(whole: Whole) -> Score:
    fast = torch.compile(whole, dynamic=True)

    def score(histories: Histories) -> Tensor:
        with torch.inference_mode():
            return fast(*model_input(whole.encoder, histories))  # type: ignore[no-any-return]

    return score


def exported(whole: Whole, example: Histories, folder: Path) -> Path:
    path = folder / "whole.onnx"
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", min=2)
    shapes = ({0: batch, 1: length}, {0: batch, 1: length}, {0: batch})
    inputs = model_input(whole.encoder, example)
    torch.onnx.export(whole, inputs, path, dynamo=True, dynamic_shapes=shapes, verbose=False)
    return path


def onnx_runtime(whole: Whole, path: Path, threads: int) -> Score:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options)
    names = [one.name for one in session.get_inputs()]

    def score(histories: Histories) -> Tensor:
        given = (one.numpy() for one in model_input(whole.encoder, histories))
        return torch.from_numpy(session.run(None, dict(zip(names, given, strict=True)))[0])

    return score


def openvino(whole: Whole, path: Path, threads: int) -> Score:
    import openvino

    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    settings["INFERENCE_PRECISION_HINT"] = "f32"
    model = openvino.Core().compile_model(str(path), "CPU", settings)

    def score(histories: Histories) -> Tensor:
        given = [one.numpy() for one in model_input(whole.encoder, histories)]
        return torch.from_numpy(np.array(model(given)[0]))

    return score


def milliseconds(score: Score, batches: list[Histories]) -> float:
    for one in batches[:5]:
        score(one)
    times = []
    for one in batches:
        began = time.perf_counter()
        score(one)
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    threads = parser.parse_args().threads
    torch.set_num_threads(threads)
    table = Table("shape", "batch", "by", "ms", "against PyTorch", "same lists")
    rng = np.random.default_rng(1)
    for name, (n_items, shape, length) in SHAPES.items():
        kind = NEURAL["bert4rec"]
        encoder = kind.build(n_items, shape)
        encoder.initialise(torch.Generator().manual_seed(1))
        model = kind(encoder.eval().requires_grad_(False))
        whole = Whole(encoder)
        for size in (1, 32):
            batches = [
                Histories.of(
                    [rng.integers(0, n_items, length - at % 3).tolist() for at in range(size)]
                )
                for _ in range(50)
            ]
            ways: dict[str, Callable[[], Score]] = {
                "PyTorch": lambda: model.score,  # noqa: B023
                "torch.compile": lambda: compiled(whole),  # noqa: B023
            }
            with tempfile.TemporaryDirectory() as folder:
                two = Histories.of([[1, 2, 3], [4, 5]])
                path = exported(whole, two, Path(folder))
                ways["ONNX Runtime"] = lambda: onnx_runtime(whole, path, threads)  # noqa: B023
                ways["OpenVINO"] = lambda: openvino(whole, path, threads)  # noqa: B023
                plain = milliseconds(model.score, batches)
                best = [top_items(model.score(one), 10) for one in batches]
                for way, make in ways.items():
                    try:
                        score = make()
                    except ImportError:
                        continue
                    took = milliseconds(score, batches)
                    found = [top_items(score(one), 10) for one in batches]
                    same = all(torch.equal(a, b) for a, b in zip(best, found, strict=True))
                    row = [name, str(size), way, f"{took:.2f}", f"{took / plain:.0%}"]
                    table.add_row(*row, "yes" if same else "no")
    console = Console()
    console.print(table)
    console.print(f"{threads} threads of {os.cpu_count()} processors, PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
