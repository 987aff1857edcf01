"""The usage reports of the tools that recctl uses: switched off unless the user wants them."""

import os

OFF = {
    "MLFLOW_DISABLE_TELEMETRY": ("true",),
    "GX_ANALYTICS_ENABLED": ("false", "0"),
    "PREFECT_SERVER_ANALYTICS_ENABLED": ("false", "0"),
    "DO_NOT_TRACK": ("true", "1"),
    "DVC_NO_ANALYTICS": ("true", "1"),
}
"""The values by which each tool does not report; the first one is set."""


def switch_off() -> None:
    """Set the variables that the user has not set, for this process and its children."""
    for name, values in OFF.items():
        os.environ.setdefault(name, values[0])


def reporting() -> dict[str, str]:
    """The user's variables that let a tool report, each with a value that does not."""
    return {
        name: values[0]
        for name, values in OFF.items()
        if os.environ.get(name, values[0]).lower() not in values
    }
