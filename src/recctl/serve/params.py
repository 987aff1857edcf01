"""The `serve` section of params.yaml."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from recctl import limits
from recctl.config import Section, Settings


class Compared(Settings):
    """A challenger that is compared with the champion in use."""

    version: Annotated[int, Field(ge=1, le=limits.VERSION)] | Literal["previous", "provisional"]
    """A registered version that does not serve; `previous`: the champion before; `provisional`: the
    version that waits for its confirmation."""
    shadow: float = Field(default=0.1, ge=0, le=1)
    """The share of the champion's passes that it repeats; its lists are not shown."""
    interleave: float = Field(default=0.0, ge=0, le=1)
    """The share of the users who get lists of both; a user stays in or out."""


class ServeParams(Section):
    """What the HTTP service keeps and compares; read when it starts."""

    section: ClassVar[str] = "serve"
    optional: ClassVar[bool] = True

    workers: int = Field(default=1, ge=1, le=limits.SERVERS)
    """Processes that answer; --workers overrides it."""
    exposures: float = Field(default=0.0, ge=0, le=1)
    """The share of the requests whose lists are kept, so that it is known what was shown."""
    challenger: Compared | None = None
    """A version that answers beside the champion; lists that are interleaved are always kept."""
