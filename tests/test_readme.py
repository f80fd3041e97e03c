import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def test_the_quick_start_runs_and_prints_what_it_says(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    exec(compile(code, str(README), "exec"), {})
    figure, *shapes = capsys.readouterr().out.splitlines()
    assert float(figure.split()[-1]) == pytest.approx(0.98, abs=0.005)
    assert shapes == ["(342, 2)", "(342, 4)"]
