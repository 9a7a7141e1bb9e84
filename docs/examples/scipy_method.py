"""SciPy's call, another method: bounds, callback and result are SciPy's."""

import numpy as np
from scipy.optimize import minimize, rosen

from zosah_jax.integrations.scipy import default

result = minimize(
    rosen,
    np.array([-1.2, 1.0, 0.5]),
    method=default,
    bounds=[(-2, 2)] * 3,
    options={"maxfev": 300, "noise": 0},
)
print(result.message, result.nfev, result.x)
