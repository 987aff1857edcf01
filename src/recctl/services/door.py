"""Access checks in front of Prefect's server and MLflow's: by host, origin and key.

Every user of this machine can reach a loopback port, and so can every page in a browser, even one
whose host name resolves to 127.0.0.1. Therefore a request must name this machine as its host, must
not come from another site's page, and must carry the key. Prefect's server checks the key in its
API; MLflow's has no such check without a database of users, so it is checked here.

    python -m uvicorn --factory recctl.services.door:prefect --host 127.0.0.1 --port 4200
"""

import base64
import hmac
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.types import ASGIApp, Receive, Scope, Send

KEY_FILE = "RECCTL_KEY_FILE"
"""Names the file with the key; it is read at each request, since each server has a new key."""

HOSTS = ("127.0.0.1", "localhost")


def prefect() -> "ASGIApp":
    """Prefect's server, which checks the key itself, in its API and its websockets."""
    return _guarded(_loaded("prefect.server.api.server:create_app")(final=True), None)


def mlflow() -> "ASGIApp":
    """MLflow's server; every request needs the key."""
    return _guarded(_loaded("mlflow.server.fastapi_app:app"), Path(os.environ[KEY_FILE]))


def _loaded(name: str) -> Any:
    # By name: the package itself depends on neither server.
    from uvicorn.importer import import_from_string

    return import_from_string(name)


def _guarded(app: "ASGIApp", key: Path | None) -> "ASGIApp":
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    return TrustedHostMiddleware(Door(app, key), allowed_hosts=HOSTS, www_redirect=False)


class Door:
    """Refuses requests of other sites' pages and, where a `key` file is given, those without it."""

    def __init__(self, app: "ASGIApp", key: Path | None) -> None:
        self.app = app
        self.key = key

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        from starlette.datastructures import Headers
        from starlette.responses import PlainTextResponse

        if scope["type"] in ("http", "websocket"):
            headers = Headers(scope=scope)
            refusal = None
            if _is_foreign(headers):
                refusal = PlainTextResponse("Asked by a page of another site", 403)
            elif self.key is not None and not _has_key(headers, self.key):
                asking = {"WWW-Authenticate": 'Basic realm="recctl"'}
                refusal = PlainTextResponse("The key of 'recctl up' is needed", 401, asking)
            if refusal is not None:
                return await refusal(scope, receive, send)
        return await self.app(scope, receive, send)


def _is_foreign(headers: "Headers") -> bool:
    """Whether a page of another origin sent the request; its links may still be opened in a tab."""
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{headers.get('host', '')}":
        return True
    followed = headers.get("sec-fetch-dest") == "document"
    return headers.get("sec-fetch-site") in ("cross-site", "same-site") and not followed


def _has_key(headers: "Headers", file: Path) -> bool:
    try:
        key = file.read_bytes().strip()
    except FileNotFoundError:
        return False
    wanted = b"Basic " + base64.b64encode(key)
    return hmac.compare_digest(headers.get("authorization", "").encode(), wanted)
