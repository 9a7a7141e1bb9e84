"""What each open point of the paper changes, one option at a time."""
