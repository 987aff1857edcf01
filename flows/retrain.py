"""The retrain flow: run the pipeline. When and how often is a deployment's business.

    python flows/retrain.py

runs it once here. Deployments, promotion and publishing are to come.
"""

from pathlib import Path

from prefect import flow, get_run_logger

from recctl import pipeline
from recctl.layout import Layout


@flow(name="retrain", log_prints=False)
def retrain(project: Path | None = None) -> None:
    """Bring the project's pipeline up to date; its lines go to the run's log."""
    logger = get_run_logger()
    pipeline.repro(Layout.find(project), logger.info)


if __name__ == "__main__":
    retrain()
