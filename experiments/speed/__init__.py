"""What a value of a network costs, and what does not grow with it."""
