"""The faces: three ways to run a method, of equal rank, over the same driver (`drive.py`).

`transformation.py`: a method as an optax transformation. `jitted.py`: a run as one compiled loop.
`host/`: a run whose values come from outside JAX. `minimize.py` is the one call over the last two.
"""
