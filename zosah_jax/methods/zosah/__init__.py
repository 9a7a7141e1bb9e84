"""ZO-SAH (arXiv 2507.06125): `zosah.py` is the method in the paper's order, the rest its boxes."""
