"""The notebooks: text form and executed form are kept in step, and the text form runs.

`python tests/second_stage/test_notebooks.py` writes and executes the .ipynb of every .py.
"""

import os
from pathlib import Path

import jupytext
import nbformat
import pytest
from jupytext.combine import combine_inputs_with_outputs
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
SOURCES = sorted(FOLDER.glob("*.py"))
_INLINE = "module://matplotlib_inline.backend_inline"


def read_text_form(source: Path) -> nbformat.NotebookNode:
    return jupytext.read(source)


def execute(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Run all cells in a fresh kernel, in place."""
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,  # else every run writes other times into the notebook
    )
    client.execute(env={"JAX_PLATFORMS": "cpu", **os.environ, "MPLBACKEND": _INLINE})


def regenerate(source: Path) -> None:
    """Write the executed form; cells that were there before keep their ids."""
    notebook, target = read_text_form(source), source.with_suffix(".ipynb")
    if target.exists():
        notebook = combine_inputs_with_outputs(notebook, nbformat.read(target, as_version=4))
    for cell in notebook.cells:
        cell.metadata.pop("lines_to_next_cell", None)  # layout of the text form
    execute(notebook, FOLDER)
    nbformat.write(notebook, target)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_executed_form_is_in_step_with_the_text_form(source):
    text = read_text_form(source)
    executed = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    nbformat.validate(executed)
    assert [(cell.cell_type, cell.source) for cell in executed.cells] == [
        (cell.cell_type, cell.source) for cell in text.cells
    ], "run `python tests/second_stage/test_notebooks.py`"
    code = [cell for cell in executed.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [out for cell in code for out in cell.outputs if out.output_type == "error"]


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_text_form_runs(source, tmp_path):
    execute(read_text_form(source), tmp_path)


if __name__ == "__main__":
    for each in SOURCES:
        regenerate(each)
