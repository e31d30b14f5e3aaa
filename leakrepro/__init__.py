"""leakrepro: unbiased leak@k of unlearned language models, fast and resumable.

>>> import leakrepro as lr
>>> lr.leak_at_k([[0, 1, 0, 0], [0, 0, 0, 0]], k=[1, 2]).value.tolist()
[0.125, 0.25]
"""

from leakrepro.errors import lazy_names, require_main_interpreter
from leakrepro.models.named import register

__version__ = "0.1.0"

require_main_interpreter()

# leakrepro.profiles resolves model names, but lower packages must not import it; see
# leakrepro/models/named.py.
register("leakrepro.profiles.models")

# Public names are listed in __init__.pyi and load on first use, so that `import leakrepro`, the
# kernel and the estimator do not import torch and the command line starts quickly.
__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
