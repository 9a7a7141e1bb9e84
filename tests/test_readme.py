import re
from pathlib import Path

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


def test_set_up_has_exactly_two_shell_blocks_one_for_the_main_job_one_for_the_tests():
    main_job, tests = blocks("sh")
    set_up = README[README.index("## Set-up") : README.index("## What is here")]
    assert main_job in set_up
    assert tests in set_up
    assert main_job.strip().endswith("-m experiments logistic_regression")
    assert tests.strip().endswith("-m pytest -n auto")
