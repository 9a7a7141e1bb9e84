"""One regression over stored points, its minimum, and what solvers that rest on it share."""
