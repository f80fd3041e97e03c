"""The script of the user guide, started as a user starts it."""

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.datasets import load_digits
from team import free_port

from deepcluster_sk import load


def blocks_of_the_guide(kind):
    """Code of that kind on the page about several processes."""
    page = Path(__file__).parents[1] / "docs" / "scaling.rst"
    pattern = rf"code-block:: {kind}\n\n(.*?)\n(?=\S)"
    found = re.findall(pattern, page.read_text("utf-8"), re.DOTALL)
    return [dedent(block) for block in found]


@pytest.mark.parametrize("machines", [1, 2])
def test_the_script_of_the_user_guide_runs(machines, tmp_path):
    (tmp_path / "train.py").write_text(blocks_of_the_guide("python")[0])
    command = [sys.executable, "-m"]
    if machines == 1:
        command += ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        commands = [[*command, "train.py"]]
    else:  # each is started on its own, as accelerate's launcher is on two machines
        command += ["accelerate.commands.launch", "--config_file"]
        settings = blocks_of_the_guide("yaml")[0]
        settings = settings.replace("first", "127.0.0.1").replace("29500", free_port())
        commands = []
        for rank in range(2):
            name = f"machine{rank}.yaml"
            ranked = settings.replace("machine_rank: 0", f"machine_rank: {rank}")
            (tmp_path / name).write_text(ranked)
            commands.append([*command, name, "train.py"])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    started = [
        subprocess.Popen(command, cwd=tmp_path, env=environment) for command in commands
    ]
    try:
        # Two processes that import torch, perhaps beside others.
        assert [process.wait(timeout=400) for process in started] == [0] * machines
    finally:
        for process in started:
            process.kill()
    X = load_digits().data
    model = load(tmp_path / "model.safetensors")
    assert (model.predict(X) == model.labels_).all()
    expected = clone(model).fit(X)
    assert_allclose(model.objective_, expected.objective_, rtol=1e-4)
