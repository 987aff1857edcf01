"""The usage reports of the tools below recctl: switched off, unless the user wants them."""

import os

OFF = {
    "MLFLOW_DISABLE_TELEMETRY": ("true",),
    "GX_ANALYTICS_ENABLED": ("false", "0"),
    "PREFECT_SERVER_ANALYTICS_ENABLED": ("false", "0"),
    "DO_NOT_TRACK": ("true", "1"),
    "DVC_NO_ANALYTICS": ("true", "1"),
}
"""What each tool takes as "do not report"; MLflow takes the one word only. The first is set."""


def switch_off() -> None:
    """Set what the user has not set, for this process and those it starts."""
    for name, values in OFF.items():
        os.environ.setdefault(name, values[0])


def reporting() -> dict[str, str]:
    """Variables by which the user's environment switches a report on, and what would stop it."""
    return {
        name: values[0]
        for name, values in OFF.items()
        if os.environ.get(name, values[0]).lower() not in values
    }
