"""Newton steps in blocks of coordinates and along kept directions, for any number of parameters."""
