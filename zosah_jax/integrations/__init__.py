"""Other libraries' ways in; each needs its extra."""
