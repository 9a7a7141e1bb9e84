"""How probes are answered: plainly, `grouped/`, `factored/`, `sharded.py`; `automatic` chooses.

`objective.py` makes of a user's function what all of them call: traced once, and checked.
"""

from zosah_jax.evaluate.automatic import Tuned, automatic, autotune
from zosah_jax.evaluate.evaluators import Evaluator, all_at_once, in_chunks, one_by_one
from zosah_jax.evaluate.factored.evaluator import factored
from zosah_jax.evaluate.grouped.evaluator import grouped
from zosah_jax.evaluate.sharded import sharded

__all__ = [
    "Evaluator",
    "Tuned",
    "all_at_once",
    "automatic",
    "autotune",
    "factored",
    "grouped",
    "in_chunks",
    "one_by_one",
    "sharded",
]
