"""The `serve` section of params.yaml."""

from typing import ClassVar

from pydantic import Field

from recctl.config import Section


class ServeParams(Section):
    """What the HTTP service keeps."""

    section: ClassVar[str] = "serve"
    optional: ClassVar[bool] = True

    exposures: float = Field(default=0.0, ge=0, le=1)
    """The share of the requests whose lists are kept, so that it is known what was shown."""
