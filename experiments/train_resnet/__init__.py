"""Image classifiers trained from values alone."""
