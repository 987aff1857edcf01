"""The stage `ingest`: raw files to typed interactions; bad rows go to quarantine."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from recctl.data import engine, formats, interactions
from recctl.data.params import IngestParams
from recctl.files import replacing_folder, write_json
from recctl.layout import Layout


def run(layout: Layout) -> None:
    """Read data/ as params.yaml says and write artifacts/interactions/."""
    params = IngestParams.load(layout.params)
    with (
        engine.duckdb(layout.state) as connection,
        replacing_folder(layout.interactions) as folder,
    ):
        staged = formats.stage(connection, params, layout.data)
        typed = interactions.classified(staged.table, params, staged.unit)
        rows_in = staged.table.count().to_pyarrow().as_py()
        connection.to_parquet(interactions.interactions(typed), folder / "interactions.parquet")
        kept = connection.read_parquet(folder / "interactions.parquet")
        connection.to_parquet(
            interactions.quarantine(typed, kept.select("row")), folder / "quarantine.parquet"
        )
        import pyarrow as pa

        pq.write_table(
            pa.table({"item_id": pa.array([], pa.string()), "title": pa.array([], pa.string())}),
            folder / "items.parquet",
        )
        report = {
            "name": params.name,
            "rows_in": int(rows_in),
            "rows_out": pq.read_metadata(folder / "interactions.parquet").num_rows,
            "users": int(kept.user_id.nunique().to_pyarrow().as_py()),
            "items": int(kept.item_id.nunique().to_pyarrow().as_py()),
        }
        write_json(folder / "report.json", report)
    print(report)
