import re
from pathlib import Path

import numpy as np

README = (Path(__file__).parent.parent / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def test_the_python_of_the_readme_runs_and_minimises(capsys):
    names: dict = {}
    for block in blocks("python"):
        exec(block, names)
    assert capsys.readouterr().out
    assert names["f"](names["params"]) < 1e-3
    assert names["result"].num_evaluations <= 300
    np.testing.assert_allclose(names["fit"].params, [2, 1.3], atol=0.02)
    assert names["loss"] < 0.5


def test_the_first_screen_has_the_three_calls_on_five_lines_each():
    first = README[: README.index("| your job | call |")]
    assert len(first.splitlines()) < 45
    calls = [block for block in blocks("python") if block in first]
    lines = [[line for line in block.splitlines() if line.strip()] for block in calls]
    assert [len(each) for each in lines if "import" not in each[0]] == [5, 5]
    for call, block in zip(("minimize", "least_squares", "value_and_grad"), calls, strict=True):
        assert f"{call}(" in block
    assert "](docs/choose.md)" in README
    assert "](docs/index.md)" in README


def test_set_up_has_exactly_two_shell_blocks_one_for_the_main_job_one_for_the_tests():
    main_job, tests = blocks("sh")
    set_up = README[README.index("## Set-up") : README.index("## What is here")]
    assert main_job in set_up
    assert tests in set_up
    assert main_job.strip().endswith("-m experiments logistic_regression")
    assert tests.strip().endswith("-m pytest -n auto")
