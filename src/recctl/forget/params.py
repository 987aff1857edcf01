"""The `forget` section of params.yaml."""

from typing import ClassVar

from recctl.config import Section
from recctl.promotion.judge.record import Retire


class ForgetParams(Section):
    """What becomes of the versions that were trained on a user who is forgotten."""

    section: ClassVar[str] = "forget"
    optional: ClassVar[bool] = True

    retire: Retire = "never"
    """When they may no longer serve. `never`: they are only listed. `next-promotion`: they may
    serve until another one does, and never again. `now`: no longer, even if none serves then."""
