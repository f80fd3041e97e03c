"""Several processes give what one gives, up to rounding, and all of them the same."""

import os
import re
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from instances import GRADIENT
from numpy.testing import assert_allclose
from team import free_port, results
from test_persistence import assert_same, public_attributes

from deepcluster_sk import parallel
from deepcluster_sk._training._distributed import is_distributed

ALIKE = [
    *GRADIENT,
    "TensorizedAutoencoder-exact",
    "SparseSubspaceClustering",
    "own method",
    "many rows",
    "one batch",
    "several runs",
    "devices",
    "whole batches",
    "augmentation",
    "stream",
    "progress",
]
pytestmark = [
    pytest.mark.rounding,
    pytest.mark.filterwarnings(
        "ignore::deepcluster_sk.exceptions.ClusterCollapseWarning"
    ),
]


@pytest.fixture(scope="module")
def rows(blobs):
    """An odd number, so that parts differ in length."""
    return np.concatenate([blobs[0], blobs[0][:1]])


@pytest.fixture(scope="module")
def alone(rows):
    """What comes out in one process."""
    return dict(results(rows))


@pytest.fixture(scope="module")
def team(rows, tmp_path_factory):
    """What comes out in each of two processes, and what they wrote to the terminal."""
    folder = tmp_path_factory.mktemp("team")
    np.save(folder / "X.npy", rows)
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    address |= {"WORLD_SIZE": "2"}
    # One thread each: how many there are decides the last digits.
    address |= {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); "
        f"import team; team.main({str(folder)!r})"
    )
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, **address, "RANK": rank, "LOCAL_RANK": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    try:
        terminals = [worker.communicate(timeout=120)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], terminals
    return [joblib.load(folder / f"{rank}.joblib") for rank in (0, 1)], terminals


def state(model):
    if hasattr(model, "module_"):
        return dict(model.module_.state_dict())
    return vars(model.solution_)


@pytest.mark.parametrize("name", [*ALIKE, "no seed", "bf16"])
def test_all_processes_have_the_same_model(name, team):
    first, second = (found[name] for found in team[0])
    assert_same(public_attributes(second), public_attributes(first))
    assert_same(state(second), state(first))


@pytest.mark.parametrize("name", ALIKE)
def test_two_processes_give_what_one_gives(name, team, alone):
    model, expected = team[0][0][name], alone[name]
    assert len(model.history_) == len(expected.history_)
    for row, other in zip(model.history_, expected.history_, strict=True):
        assert list(row) == list(other)
        for key, value in row.items():
            assert value == other[key] or value == pytest.approx(other[key], 1e-3)
    assert_allclose(model.objective_, expected.objective_, rtol=1e-3)
    if hasattr(model, "labels_"):
        assert (model.labels_ == expected.labels_).all()


def test_listeners_get_the_losses_of_whole_batches(team, alone):
    first, second = (found["batch losses"] for found in team[0])
    assert first == second
    assert_allclose(first, alone["batch losses"], rtol=1e-5)


def test_layers_draw_other_numbers_in_each_process(team, alone):
    first, second = (found["masks"] for found in team[0])
    assert_same(first[0], alone["masks"][0])
    assert 0.2 < np.mean(first != second) < 0.8


def test_a_fitted_model_answers_in_one_process_alone(team, alone):
    assert_allclose(team[0][0]["alone"], alone["alone"], rtol=1e-4, atol=1e-4)


def test_only_the_first_process_shows_progress(team):
    assert "3/3" in team[1][0]
    assert "3/3" not in team[1][1]


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("part of a batch", RuntimeError, "phase 'follow' the criterion of the"),
        ("other data", ValueError, r"They differ in SHA-256 of X\.$"),
        ("other parameters", ValueError, r"They differ in lr\.$"),
        ("checkpoint", ValueError, "'checkpoint' parameter of Autoencoder must be"),
        ("tiny batches", ValueError, "batch of 1 rows cannot be .* 2 processes"),
    ],
)
def test_what_cannot_be_done_is_refused_in_all_processes(name, kind, message, team):
    for found in team[0]:
        assert isinstance(found[name], kind)
        assert re.search(message, str(found[name]))


class Lonely:
    """An accelerator that knows of no other process."""

    num_processes = 1


def test_one_process_is_not_distributed():
    x = torch.ones(3, 2)
    with parallel.processes(Lonely()):
        assert not is_distributed()
        assert parallel.whole_batch(x) is x
        assert parallel.own_part(x) is x


def test_an_accelerator_that_has_not_found_the_others_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"2 processes were started \(WORLD_SIZE\)"):
        with parallel.processes(Lonely()):
            pass
