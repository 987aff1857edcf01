"""The retrain flow: run the pipeline. When and how often is a deployment's business.

    python flows/retrain.py

runs it once here. Deployments, promotion and publishing are to come.
"""

from pathlib import Path

from prefect import flow

from recctl import pipeline
from recctl.layout import Layout


@flow(name="retrain", log_prints=True)
def retrain(project: Path | None = None) -> None:
    """Bring the project's pipeline up to date; its lines go to the run's log."""
    pipeline.repro(Layout.find(project), print)


if __name__ == "__main__":
    retrain()
