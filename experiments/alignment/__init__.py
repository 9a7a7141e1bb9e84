"""How much of the gradient the subspaces of zeroth-order methods hold, along a run."""
