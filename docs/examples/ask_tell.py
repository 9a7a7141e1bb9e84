"""Your own loop: points are asked and values told, in whatever time and place."""

import pickle

import numpy as np

import zosah_jax

solver = zosah_jax.AskTell(np.array([-1.2, 1.0]))
while solver.num_evaluations < 150 and not solver.converged:
    points = solver.ask()
    kept = pickle.dumps(solver.state)  # go home; tomorrow, in another process:
    solver.state = pickle.loads(kept)
    values = [100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2 for x in points]
    solver.tell(values)  # None for one that never came
print(solver.best_params, solver.best_value, solver.num_evaluations)
