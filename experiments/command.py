"""The command line of an experiment: `main` of a frozen config dataclass."""

import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import tyro

from experiments.errors import InputError


def run(main: Callable[[Any], None], config: type) -> None:
    """Call `main` with a config read from the command line; say what is wrong in one line."""
    try:
        main(check(tyro.cli(config, description=config.__doc__)))
    except InputError as error:
        sys.exit(f"error: {error}")


def check(config: Any) -> Any:
    """The config itself, unless a number in it is not positive or a list has no entry.

    Raises:
        InputError: by the name of the option.
    """
    for field in fields(config):
        value = getattr(config, field.name)
        if isinstance(value, tuple) and not value:
            raise InputError(f"{field.name}: got nothing, wanted at least one.")
        numbers = (
            [v for v in value if isinstance(v, float)] if isinstance(value, tuple) else [value]
        )
        for number in numbers:
            if isinstance(number, int | float) and not isinstance(number, bool) and not number > 0:
                raise InputError(f"{field.name}: got {number}, wanted a positive number.")
    return config
