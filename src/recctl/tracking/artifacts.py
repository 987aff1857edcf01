"""The files of MLflow's runs: where they are now, and whether they exist.

MLflow records absolute addresses. The files of a local database are in `mlartifacts/` in its
folder; in a project that was moved or copied they are read from the folder of its database.

Whether a file exists is decided by requests to its store, for the file and the folders above it,
never by the text of an error. Imports mlflow inside functions only.
"""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from recctl.errors import MayPass, Unknown
from recctl.files import leads_out

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

FOLDER = "mlartifacts"
"""The folder of the files of a local database's runs, in the database's folder."""


def sqlite_file(uri: str) -> Path | None:
    """The database behind an sqlite address, None for any other address."""
    name = uri.removeprefix("sqlite:///")
    return None if name == uri or not name or ":memory:" in name else Path(name.partition("?")[0])


def root_of(uri: str) -> Path | None:
    """The folder for the files of a local database's runs; None for any other store."""
    database = sqlite_file(uri)
    return database.parent / FOLDER if database else None


_LOCAL = re.compile(rf"(?:file://)?(/(?:.*?/)?{FOLDER})(?:/([0-9a-f]{{32}}/artifacts(?:/.*)?))?")
"""An experiment's folder, or below it the place of one of its runs."""


def _other_root(uri: str, address: str) -> Path | None:
    """The folder that an address names in place of the database's own; None where it is that one.

    Of a database that was moved without its files, the folder that it left stays its own.
    """
    own, found = root_of(uri), _LOCAL.fullmatch(address)
    if own is None or found is None:
        return None
    named = Path(unquote(found[1]) if address.startswith("file:") else found[1])
    if named == own:
        return None
    database = sqlite_file(uri)
    assert database is not None
    alone = named.is_dir() and not own.exists() and not (named.parent / database.name).exists()
    return None if alone else named


def moved_from(uri: str, address: str) -> Path | None:
    """The folder that an address names and that does not lead to the database's own."""
    named, own = _other_root(uri, address), root_of(uri)
    same = named and own and named.exists() and own.exists() and named.samefile(own)
    return None if same else named


def place_of(uri: str, address: str) -> str:
    """Where an artifact address that the store at `uri` holds leads to now."""
    own, found = root_of(uri), _LOCAL.fullmatch(address)
    if own is None or found is None or _other_root(uri, address) is None:
        return address
    return "/".join([own.as_uri(), *([found[2]] if found[2] else [])])


def client(uri: str) -> "MlflowClient":
    """MLflow's client for the store at `uri`; it writes a run's files to where they belong now."""
    import mlflow

    places: dict[str, Artifacts] = {}

    class Client(mlflow.MlflowClient):  # type: ignore[misc]
        def get_artifacts(self, run_id: str) -> Artifacts:
            if run_id not in places:  # MLflow never changes the address
                run = self.get_run(run_id)
                if run.info.run_id != run_id:
                    raise MayPass(f"MLflow answers for another run than {run_id}")
                places[run_id] = Artifacts(run_id, place_of(uri, run.info.artifact_uri), uri)
            return places[run_id]

        def _raise_if_prompt(self, name: str) -> None:
            """Spare a request before every change of a registered model: ours are no prompts."""

        def log_artifact(
            self, run_id: str, local_path: str, artifact_path: str | None = None
        ) -> None:
            self.get_artifacts(run_id).store().log_artifact(local_path, artifact_path)

        def log_artifacts(
            self, run_id: str, local_dir: str, artifact_path: str | None = None
        ) -> None:
            self.get_artifacts(run_id).store().log_artifacts(local_dir, artifact_path)

    return Client(uri, registry_uri=uri)


@dataclass(frozen=True)
class Artifacts:
    """The files of one run, at the place where they belong."""

    run_id: str
    place: str
    uri: str

    def store(self, place: str | None = None) -> "ArtifactRepository":
        """MLflow's own access to the files below a place."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(place or self.place, tracking_uri=self.uri)

    def sizes(self, sub: str) -> dict[str, int | None]:
        """The bytes of every file below the folder `sub`, by its path in the run.

        None where the store does not report a size. Empty where the folder is empty and where the
        store does not know it: `lacks` distinguishes these.
        """
        return self._sizes(self.store(), sub)

    def _sizes(self, store: "ArtifactRepository", folder: str) -> dict[str, int | None]:
        found: dict[str, int | None] = {}
        for one in _listed(store, folder):
            if one.path == folder or not one.path.startswith(f"{folder}/"):
                raise Unknown(f"{self.place} lists {one.path} below {folder}")
            found |= self._sizes(store, one.path) if one.is_dir else {one.path: one.file_size}
        return found

    def copy(self, sizes: dict[str, int | None], to: Path) -> None:
        """Bring files below `to`; what came with another size than it was listed is Unknown."""
        store = self.store()

        def bring(path: str) -> None:
            if leads_out(path):
                raise Unknown(f"{self.place} lists a file outside of it: {path}")
            local = to / path
            local.parent.mkdir(parents=True, exist_ok=True)
            store._download_file(path, str(local))  # what every store of MLflow implements
            came, listed = local.stat().st_size, sizes[path]
            if listed is not None and came != listed:
                raise MayPass(f"{self.place}/{path} came with {came:,} of {listed:,} bytes")

        for _ in store.thread_pool.map(bring, sizes):
            pass

    def lacks(self, path: str) -> bool:
        """Whether the store says that it has no such file, and shows that it holds others.

        Raises Unknown where all folders above it, up to the experiment's, are empty or cannot be
        read: a disk that is not mounted looks so.
        """
        top = self.place.removesuffix(f"/{self.run_id}/artifacts")
        whole = path if top == self.place else f"{self.run_id}/artifacts/{path}"
        store = self.store(top)
        if self._can_be_read(store, whole):
            return False
        for folder in map(str, PurePosixPath(whole).parents):
            listed = {one.path for one in _listed(store, "" if folder == "." else folder)}
            if listed:
                return whole not in listed
        raise Unknown(
            f"the artifact store {top} is empty or not there",
            "mount its disk, or restore its folder",
        )

    def _can_be_read(self, store: "ArtifactRepository", path: str) -> bool:
        """Whether the store gives the file; any refusal of it is left to the listings to judge."""
        import tempfile

        from mlflow.exceptions import MlflowException

        with tempfile.TemporaryDirectory(prefix="recctl-") as name:
            try:
                store._download_file(path, str(Path(name) / "copy"))
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return False
            except Exception as error:
                if not _not_found(error):
                    raise
                return False
        return True


def _not_found(error: Exception) -> bool:
    """Whether a store answered that it has no such file: MLflow's own server, or S3 and its like.

    A 404 without MLflow's word for it may be that of a proxy.
    """
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        try:
            said = error.response.json()
        except requests.JSONDecodeError:
            return False
        return isinstance(said, dict) and said.get("error_code") == "RESOURCE_DOES_NOT_EXIST"
    if isinstance(error, FileNotFoundError):
        return True
    answer = getattr(error, "response", None)  # botocore's ClientError
    code = answer.get("Error", {}).get("Code") if isinstance(answer, dict) else None
    return code in ("404", "NoSuchKey")


def _listed(store: "ArtifactRepository", folder: str) -> list[Any]:
    """The entries of a store directly in a folder."""
    try:
        return list(store.list_artifacts(folder or None))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise MayPass(f"{store.artifact_uri} returns an invalid list of files ({error})") from None
