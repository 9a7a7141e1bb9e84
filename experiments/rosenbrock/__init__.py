"""Rosenbrock's valley in two dimensions: where the methods go, and at what price."""
