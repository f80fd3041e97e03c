from importlib import import_module

import pytest

from benchmarks.__main__ import SUITES
from benchmarks._harness import Benchmark, Job, parse, results_table
from benchmarks._tables import markdown_table


@pytest.fixture
def bench(tmp_path):
    """A benchmark that counts its runs; ``fail`` names the seeds that raise."""

    class Counted:
        ran, fail = (), ()
        path = tmp_path / "toy.jsonl"

        def job(self, seed):
            self.ran = (*self.ran, seed)
            if seed in self.fail:
                raise RuntimeError("no luck")
            return {"ari": seed / 10}

        def __call__(self, *arguments):
            self.ran = ()
            return Benchmark(
                "toy",
                lambda options: [
                    Job("iris", "m", seed, lambda seed=seed: self.job(seed))
                    for seed in options.seeds
                ],
                lambda records, options: results_table(records, {"ari": "ARI"}),
            ).main(["--output", str(tmp_path), *arguments])

    return Counted()


def test_finished_jobs_are_not_run_again(bench):
    assert bench("--seeds", "2") == 0
    assert bench.ran == (0, 1)
    bench("--seeds", "3")
    assert bench.ran == (2,)
    bench("--seeds", "3", "--fresh")
    assert bench.ran == (0, 1, 2)
    report = bench.path.with_suffix(".md").read_text(encoding="utf-8")
    assert "0.100 (0.100 ± 0.100)" in report


def test_a_record_cut_short_is_run_again(bench):
    bench("--seeds", "3")
    text = bench.path.read_text(encoding="utf-8")
    bench.path.write_text(text[:-20], encoding="utf-8")
    bench("--seeds", "3")
    assert bench.ran == (2,)
    assert bench.path.read_text(encoding="utf-8").count("\n") == 3


def test_a_failure_is_counted_and_tried_again(bench, capsys):
    bench.fail = (1,)
    assert bench("--seeds", "3") == 1
    assert bench.ran == (0, 1, 2)
    assert "no luck" in capsys.readouterr().out
    bench.fail = ()
    assert bench("--seeds", "3") == 0
    assert bench.ran == (1,)


@pytest.mark.parametrize("name", SUITES)
def test_jobs_of_every_suite_can_be_told_apart(name):
    jobs = list(import_module(f"benchmarks.{name}").BENCHMARK.jobs(parse(name, [])))
    assert len({job.key for job in jobs}) == len(jobs) > 0


def test_exemplars_run_and_are_reported(tmp_path, monkeypatch):
    exemplars = import_module("benchmarks.exemplars")
    rows = {f"mixture {n}": (20, 20 * n) for n in (2, 3)}
    monkeypatch.setattr(exemplars, "MIXTURES", rows)
    monkeypatch.setattr(exemplars, "data_sets", lambda options: ())
    options = ["--quick", "--output", str(tmp_path)]
    assert exemplars.BENCHMARK.main(options) == 0
    report = (tmp_path / "exemplars-quick.md").read_text(encoding="utf-8")
    assert "mixture 2: the weights raise the NMI on" in report


def test_markdown_table_is_aligned():
    table = markdown_table(["name", "x"], [["a", "1.25"], ["long name", "3"]])
    assert table.splitlines() == [
        "| name      |    x |",
        "| :-------- | ---: |",
        "| a         | 1.25 |",
        "| long name |    3 |",
    ]
