"""leakrepro: leak@k of unlearned language models, exact, fast and resumable.

>>> import leakrepro as lr
>>> lr.leak_at_k([[0, 1, 0, 0], [0, 0, 0, 0]], k=[1, 2]).value.tolist()
[0.125, 0.25]
"""

from leakrepro.errors import lazy_names
from leakrepro.models.named import register

__version__ = "0.1.0"

# Models are made by name in a room above those that ask for them; see leakrepro/models/named.py.
# Public names are listed in __init__.pyi and load on first use: `import leakrepro`, the kernel and
# the estimator need no torch, and the command's help is quick.
register("leakrepro.profiles.models")
__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
