"""A stand-in for the process that tries challengers: a new one would import torch each time."""

import json
from typing import Any

from recctl.serve import trial


class Here:
    """`service.Process`, in this process."""

    def ask(self, asked: dict[str, Any]) -> Any:
        return json.loads(json.dumps(trial.answers(json.loads(json.dumps(asked)))))

    def end(self) -> None:
        pass
