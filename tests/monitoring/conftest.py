"""The tiny project of promotion's tests is watched here."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "promotion"))
