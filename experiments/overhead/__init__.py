"""What a value costs by each evaluator, and what the library adds to it."""
