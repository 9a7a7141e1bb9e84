"""One regression over noisy values, in the metric of its own Hessian."""
