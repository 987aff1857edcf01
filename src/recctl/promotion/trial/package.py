"""What is registered: an MLflow model from code with weights, vocabulary and training record.

The folder's format is MLflow's ("pyfunc", models from code); recctl writes it itself, so that the
same model gives the same bytes, no path of this machine is in it, and no code runs for it. recctl
reads a version's own folder with its own code, never the version's. Nothing in it is a pickle, and
what could be one is refused.
"""

import hashlib
import importlib.metadata
import json
import pickletools
import platform
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from ruamel.yaml import YAML
from safetensors import SafetensorError, safe_open

import recctl
from recctl.config import read_yaml
from recctl.errors import UserError
from recctl.files import digest, replacing_folder, write_json
from recctl.models.base import SETTINGS, WEIGHTS, read_settings
from recctl.promotion import manifest
from recctl.promotion.manifest import AGAIN as AGAIN
from recctl.promotion.serving import COLUMNS, HISTORY, PARAMS
from recctl.promotion.serving import DIGESTS as DIGESTS
from recctl.promotion.serving import RECOMMENDER as RECOMMENDER
from recctl.promotion.trial.training_record import TrainingRecord
from recctl.recommend import Served

VOCABULARY = "vocabulary.json"
MODEL_FILES = (SETTINGS, WEIGHTS, VOCABULARY)
"""What the content digest is made of: two folders with the same give the same recommendations."""
MLMODEL = "MLmodel"
LOADER = "mlflow.pyfunc.loaders.code_model"
BYTECODE = "__pycache__"
NO_BYTECODE = "A file in the place where Python would keep bytecode beside what was registered.\n"
"""MLflow serves a version of a local store in place, and Python would write compiled files there
that were never registered; a file with the folder's name prevents it."""

SOURCES = (
    "__init__.py",
    "errors.py",
    "files.py",
    "limits.py",
    "redact.py",
    "settings.py",
    "recommend.py",
    "evaluation/__init__.py",
    "evaluation/ranking.py",
    "models/*.py",
    "promotion/__init__.py",
    "promotion/manifest.py",
    "promotion/serving.py",
    "sequences/__init__.py",
    "sequences/store.py",
    "sequences/vocabulary.py",
)
"""The part of recctl that serving imports; a version carries it."""
REQUIREMENTS = ("mlflow", "numpy", "pandas", "pydantic", "safetensors", "scipy", "torch")

ENTRY = '''"""What MLflow runs to serve this model."""

from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from recctl.errors import UserError
from recctl.promotion.serving import Recommendations


class Recommender(PythonModel):
    def load_context(self, context):
        version = Path(context.artifacts["digests"]).parents[1]
        self.recommendations = Recommendations.load(version)

    def predict(self, context, model_input, params=None):
        try:
            return self.recommendations.answer(model_input, params)
        except UserError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None


set_model(Recommender())
'''
ENTRY_FILE = "serving.py"


def build(
    model: Path,
    to: Path,
    *,
    record: TrainingRecord,
    filter_seen: bool = True,
    again: Path | None = None,
) -> None:
    """Make the folder `to` from the model folder `model`; the same model gives the same bytes.

    `again` is the folder of the model that was trained again on everything, which serves.
    `filter_seen` is what holds where a request says nothing: as the model was evaluated. Raises
    UserError when the model is missing, damaged or was trained on another split than the record's.
    """
    vocabulary = Served.load(model).vocabulary
    _check_same_split(model, record)
    with replacing_folder(to) as folder:
        recommender = folder / RECOMMENDER
        recommender.mkdir(parents=True)
        for name in MODEL_FILES:
            shutil.copyfile(model / name, recommender / name)
        record.save(recommender)
        if again is not None:
            shutil.copytree(again, folder / AGAIN)
        _copy_sources(folder / "code" / "recctl")
        (folder / ENTRY_FILE).write_text(ENTRY, encoding="utf-8")
        for beside in {source.parent for source in folder.rglob("*.py")}:
            (beside / BYTECODE).write_text(NO_BYTECODE, encoding="utf-8")
        params = {**PARAMS, "filter_seen": filter_seen}
        _write_example(folder, list(vocabulary.items[:3]), params)
        _write_environment(folder)
        _write_yaml(folder / MLMODEL, _mlmodel(content_digest(recommender), params))
        write_json(folder / DIGESTS, manifest.of(folder))  # last: of every file but itself


def content_digest(model: Path) -> str:
    """The sha256 that identifies a model: of its weights, settings and vocabulary.

    The training record is not part of it: the split, which model.json names, decides it.
    """
    names = sorted(MODEL_FILES)
    for name in names:
        if not (model / name).is_file():
            raise UserError(f"no {model / name}", "train a model first: 'dvc repro train'")
    text = json.dumps([[name, digest(model / name)] for name in names])
    return hashlib.sha256(text.encode()).hexdigest()


def check(folder: Path, expected: manifest.Manifest) -> None:
    """Hold a folder against its manifest, and look for anything that could be a pickle.

    Raises UserError, one line, when a file is missing, altered or not in the manifest, is a link,
    is elsewhere or could run code when it is read.
    """
    manifest.check(folder, expected)
    refuse_pickles(folder)


def refuse_pickles(folder: Path) -> None:
    """Raise UserError when a folder holds a file that could be a pickle, or names one.

    Files are of few kinds, and each is held against its kind: safetensors by its header, JSON and
    YAML by parsing, source by being text. So a pickle under another name does not pass either.
    """
    for name in sorted(manifest.names(folder)):
        kind = PurePosixPath(name).suffix or PurePosixPath(name).name
        if kind not in _KINDS or (kind in (MLMODEL, manifest.MLFLOW_NOTE) and kind != name):
            raise manifest.refused(folder, f"'{name}' is of no kind that a version may hold")
        reason = _KINDS[kind](folder / name)
        if reason is not None:
            raise manifest.refused(folder, f"'{name}' {reason}")


def _check_same_split(model: Path, record: TrainingRecord) -> None:
    about = read_settings(model).get("about", {})
    trained_on = about.get("split_fingerprint") if isinstance(about, dict) else None
    if trained_on != record.about["split_fingerprint"]:
        raise UserError(
            f"{model} was not trained on the split in artifacts/sequences",
            "run 'dvc repro'",
        )


def _copy_sources(to: Path) -> None:
    root = Path(recctl.__file__).parent
    for pattern in SOURCES:
        for source in root.glob(pattern):
            target = to / source.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def _write_example(folder: Path, items: list[str], params: dict[str, Any]) -> None:
    """A request for someone with a history and for a newcomer, as MLflow keeps one."""
    table = {"columns": [HISTORY], "data": [[items], [[]]]}
    write_json(folder / "input_example.json", {"inputs": table, "params": params})
    write_json(folder / "serving_input_example.json", {"dataframe_split": table, "params": params})


def _write_environment(folder: Path) -> None:
    pins = [f"{name}=={_version(name)}" for name in REQUIREMENTS]
    (folder / "requirements.txt").write_text("\n".join(pins) + "\n", encoding="utf-8")
    python = platform.python_version()
    tools = [f"{name}=={_version(name)}" for name in ("pip", "setuptools") if _installed(name)]
    _write_yaml(
        folder / "python_env.yaml",
        {
            "python": python,
            "build_dependencies": [*tools, "wheel"],
            "dependencies": ["-r requirements.txt"],
        },
    )
    dependencies = [f"python={python}", "pip", {"pip": pins}]
    _write_yaml(
        folder / "conda.yaml",
        {"name": "mlflow-env", "channels": ["conda-forge"], "dependencies": dependencies},
    )


def _version(name: str) -> str:
    """An installed package's version without a local part: '2.13.0+cpu' is on no index."""
    return importlib.metadata.version(name).partition("+")[0]


def _installed(name: str) -> bool:
    return any(True for _ in importlib.metadata.distributions(name=name))


def _mlmodel(content: str, params: dict[str, Any]) -> dict[str, Any]:
    """The MLmodel file (MLflow's docs, "MLflow Models", storage format)."""
    artifacts = {
        "recommender": {"path": str(RECOMMENDER), "uri": str(RECOMMENDER)},
        "digests": {"path": str(DIGESTS), "uri": str(DIGESTS)},
    }
    pyfunc = {
        "loader_module": LOADER,
        "model_code_path": ENTRY_FILE,
        "artifacts": artifacts,
        "code": "code",
        "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
        "python_version": platform.python_version(),
        "streamable": False,
    }
    return {
        "flavors": {"python_function": pyfunc},
        "mlflow_version": _version("mlflow"),
        "model_uuid": content[:32],
        "saved_input_example_info": {
            "artifact_path": "input_example.json",
            "pandas_orient": "split",
            "params": "true",
            "serving_input_path": "serving_input_example.json",
            "type": "dataframe",
        },
        "signature": _signature(params),
    }


def _signature(params: dict[str, Any]) -> dict[str, str]:
    """What MLflow holds a request against; a history is held against `serving.histories` alone.

    MLflow casts the texts of an array with a null in it to one character each.
    """
    kinds = {"item_ids": "string", "titles": "string", "scores": "double", "unknown_ids": "string"}
    outputs = [
        {"type": "array", "items": {"type": kinds[name]}, "name": name, "required": True}
        for name in COLUMNS
    ]
    types = {"k": "long", "filter_seen": "boolean"}
    settable = [
        {"name": name, "default": params[name], "shape": None, "type": kind}
        for name, kind in types.items()
    ]
    return {
        "inputs": json.dumps([{"type": "any", "name": HISTORY, "required": False}]),
        "outputs": json.dumps(outputs),
        "params": json.dumps(settable),
    }


def _write_yaml(path: Path, content: dict[str, Any]) -> None:
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 10_000
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(content, file)


def _not_text(path: Path) -> str | None:
    content = path.read_bytes()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return "is not text"
    if _reads_as_pickle(content):
        return "is a pickle"
    return "is not text" if "\0" in text else None


def _reads_as_pickle(content: bytes) -> bool:
    """Whether bytes are a pickle from end to end, as one of protocol 0 is that looks like text.

    The opcodes are taken apart and not run.
    """
    try:
        for _ in pickletools.genops(content):
            pass
    except (ValueError, UnicodeDecodeError, OverflowError, RecursionError):
        return False
    return True


def _not_json(path: Path) -> str | None:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return "is not JSON"
    return None


def _not_yaml(path: Path) -> str | None:
    return None if isinstance(_yaml(path), dict) else "is not YAML"


def _not_safetensors(path: Path) -> str | None:
    try:
        with safe_open(path, framework="numpy"):
            return None
    except (SafetensorError, json.JSONDecodeError):
        return "is not a safetensors file"


def _not_from_code(path: Path) -> str | None:
    """What keeps an MLmodel file from being a model from code alone."""
    content = _yaml(path)
    flavors = content.get("flavors") if isinstance(content, dict) else None
    if not isinstance(flavors, dict) or list(flavors) != ["python_function"]:
        return "describes another kind of model than a Python function"
    pyfunc = flavors["python_function"]
    if not isinstance(pyfunc, dict) or pyfunc.get("loader_module") != LOADER:
        return "describes a model that is not from code and may be unpickled"
    for key in ("python_model", "data"):
        if key in pyfunc:
            return f"names a '{key}', which may be unpickled"
    return None if pyfunc.get("model_code_path") == ENTRY_FILE else "names other code to run"


def _not_marker(path: Path) -> str | None:
    return None if path.read_bytes() == NO_BYTECODE.encode() else "is not what its name says"


def _not_note(path: Path) -> str | None:
    content = _yaml(path)
    known = isinstance(content, dict) and content.keys() <= {"model_name", "model_version"}
    return None if known else "is not what its name says"


def _yaml(path: Path) -> Any:
    """What a YAML file says, by the safe loader; None where it is none."""
    try:
        return read_yaml(path)
    except UserError:
        return None


_KINDS = {
    MLMODEL: _not_from_code,
    manifest.MLFLOW_NOTE: _not_note,
    BYTECODE: _not_marker,
    ".json": _not_json,
    ".py": _not_text,
    ".safetensors": _not_safetensors,
    ".txt": _not_text,
    ".yaml": _not_yaml,
}
"""What a version may hold, and how each file is held against what its name says."""
