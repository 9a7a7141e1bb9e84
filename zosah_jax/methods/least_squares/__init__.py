"""Least squares from vectors of residuals: `solver.LeastSquares`."""
