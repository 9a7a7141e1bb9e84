"""The one runner: `python -m experiments NAME --option ...`; without a name, it lists them."""

import ast
import sys

import tyro

from experiments.common import records
from experiments.common.errors import InputError
from experiments.experiment import load, names, run


def main(arguments: list[str]) -> None:
    """Run the experiment that is named first; say what is wrong in one line."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(listed())
        return
    name, *options = arguments
    try:
        experiment = load(name)
        config = tyro.cli(
            experiment.Config,
            prog=f"python -m experiments {name}",
            description=experiment.Config.__doc__,
            args=options,
        )
        run(experiment, config)
    except InputError as error:
        sys.exit(f"error: {error}")


def listed() -> str:
    """Every experiment with the first line of its documentation; imports none."""
    lines = ["python -m experiments NAME --option ... (--help lists the options of one)", ""]
    width = max(map(len, names()))
    for name in names():
        source = (records.own_folder(name) / "experiment.py").read_text()
        about = (ast.get_docstring(ast.parse(source)) or "").splitlines()[0]
        lines.append(f"  {name:<{width}}  {about}")
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
