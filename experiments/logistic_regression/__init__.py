"""The main job: every method of the library on logistic regression."""
