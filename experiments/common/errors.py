"""What is wrong with what the user gave."""


class InputError(ValueError):
    """An option or a data file that cannot be used; shown without a traceback."""
