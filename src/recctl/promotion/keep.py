"""Pages of a decision: beside the project's other artifacts, and with the evidence in MLflow."""

import tempfile
from pathlib import Path

from recctl.files import replacing
from recctl.layout import Layout
from recctl.promotion import page, plots
from recctl.promotion.log import Entry
from recctl.promotion.registry import EVIDENCE, Registry


def pages(layout: Layout, registry: Registry, entry: Entry) -> Path:
    """Write HTML, markdown and plot of a decision; returns the folder in the project."""
    folder = layout.decisions / f"{entry.position:04d}"
    body = entry.content
    with tempfile.TemporaryDirectory(prefix="recctl-page-") as name:
        plot = Path(name) / "intervals.png"
        plots.intervals(body, plot)
        picture = plot.read_bytes()
    contents = {
        "decision.html": page.html(body, picture, entry.position).encode(),
        "decision.md": page.markdown(body, entry.position).encode(),
        "decision.json": entry.body.encode(),
        "intervals.png": picture,
    }
    for file, content in contents.items():
        with replacing(folder / file) as temporary:
            temporary.write_bytes(content)
    if entry.run_id is not None:
        registry.log_files(entry.run_id, folder, EVIDENCE)
    return folder
