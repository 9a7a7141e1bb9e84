"""A small language model, fine-tuned by forward passes alone."""
