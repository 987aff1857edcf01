from recctl.notebook import Project as Project
from recctl.notebook import compare as compare

__version__: str
