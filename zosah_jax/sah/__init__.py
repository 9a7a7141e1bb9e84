"""ZO-SAH (arXiv 2507.06125), one file for each box of the paper's diagram; `step.py` joins them."""
