"""The `serve` section of params.yaml."""

from typing import ClassVar

from pydantic import Field

from recctl import limits
from recctl.config import Section, Settings


class Interleave(Settings):
    """A challenger that is compared with the champion in use."""

    version: int = Field(ge=1, le=limits.VERSION)
    """A registered version that does not serve."""
    share: float = Field(default=0.1, gt=0, le=1)
    """The share of the users who get lists of both; a user stays in or out."""


class ServeParams(Section):
    """What the HTTP service keeps and compares; read when it starts."""

    section: ClassVar[str] = "serve"
    optional: ClassVar[bool] = True

    exposures: float = Field(default=0.0, ge=0, le=1)
    """The share of the requests whose lists are kept, so that it is known what was shown."""
    interleave: Interleave | None = None
    """A challenger whose lists are interleaved with the champion's; these lists are always kept."""
