import json
import subprocess
import sys
import warnings
from importlib import import_module
from time import sleep
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.cluster import KMeans
from skorch.callbacks import Callback
from stand_in_device import StandInDevice
from threadpoolctl import threadpool_info

from benchmarks import (
    _clustpy,
    _comparison,
    companion,
    device,
    exemplars,
    published,
    scale,
    selection,
    speed_step,
)
from benchmarks.__main__ import SUITES
from benchmarks._harness import (
    Benchmark,
    FitTime,
    Job,
    PeakMemory,
    group,
    parse,
    results_table,
    shortfalls,
    thread_limit,
)
from benchmarks._stopwatch import Stopwatch
from benchmarks._tables import markdown_table
from deepcluster_sk.exceptions import ClusterCollapseWarning, LongFitWarning


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


def test_a_part_is_run_alone_and_forgotten_alone(tmp_path):
    ran = []

    def job(data, method):
        return Job(data, method, 0, lambda: ran.append((data, method)) or {"ari": 0.5})

    def bench(*arguments):
        ran.clear()
        Benchmark(
            "toy",
            lambda options: [job(d, m) for d in ("iris", "a, b") for m in ("m", "n")],
            lambda records, options: results_table(records, {"ari": "ARI"}),
        ).main(["--output", str(tmp_path), *arguments])
        return list(ran)

    assert bench("--methods", "m", "--data", "iris") == [("iris", "m")]
    assert bench("--methods", "n, m", "--data", 'iris, "a, b"') == [
        ("iris", "n"),
        ("a, b", "m"),
        ("a, b", "n"),
    ]
    assert bench("--methods", "n", "--fresh") == [("iris", "n"), ("a, b", "n")]
    assert bench() == []
    assert (tmp_path / "toy.md").read_text(encoding="utf-8").count("0.500") == 4
    with pytest.raises(SystemExit, match="no job for k"):
        bench("--methods", "m,k", "--fresh")
    assert bench() == []


@pytest.mark.parametrize("name", SUITES)
def test_jobs_of_every_suite_can_be_told_apart(name):
    jobs = list(import_module(f"benchmarks.{name}").BENCHMARK.jobs(parse(name, [])))
    assert len({job.key for job in jobs}) == len(jobs) > 0


def test_exemplars_run_and_are_reported(tmp_path, monkeypatch):
    rows = {f"mixture {n}": (20, 20 * n) for n in (2, 3)}
    monkeypatch.setattr(exemplars, "MIXTURES", rows)
    monkeypatch.setattr(exemplars, "data_sets", lambda options: ())
    options = ["--quick", "--output", str(tmp_path)]
    assert exemplars.BENCHMARK.main(options) == 0
    report = (tmp_path / "exemplars-quick.md").read_text(encoding="utf-8")
    for start in ("default", "k-means"):
        assert f"mixture 2, {start} start: the weights raise the NMI on" in report


@pytest.mark.parametrize("shape", [None, (1, 8, 8)])
def test_companions_are_compared_at_one_rate_and_one_budget(shape):
    rows = dict(companion.methods(10, shape, 7, 3, seed=0))
    rows.pop("k-means")
    models = {name: make() for name, make in rows.items()}
    settings = {(m.lr, m.max_epochs, m.tol, m.n_init) for m in models.values()}
    assert settings == {(1e-3, 7, 0.0, 1)}
    for name, model in models.items():
        plain = companion.plain_of(name)
        if plain is None:
            continue
        # What differs is the auxiliary objective alone.
        own, other = model.get_params(), models[plain].get_params()
        differing = {key for key in own if repr(own[key]) != repr(other.get(key))}
        auxiliary = {"companion", "reconstruction_weight", "clustering_weight"}
        assert differing <= auxiliary | {"neighbor_weight"}, name
    for kind in (companion.PUBLISHED, companion.OURS):
        assert f"DDC-UCO_T{kind}" in rows


def test_gains_are_counted_seed_by_seed():
    def record(method, seed, acc):
        result = {"acc": acc}
        return {"data": "d", "method": method, "seed": seed, "result": result}

    acc = {"DDC": (0.5, 0.6), "DDC-UCO_T": (0.7, 0.5), "DEC": (0.4, 0.4)}
    records = [
        record(f"{name}, default", seed, value)
        for name, values in acc.items()
        for seed, value in enumerate(values)
    ]
    table = companion.differences(records)
    assert "0.050 (0.050 ± 0.212)" in table and "1 of 2" in table
    assert "DEC" not in table


def test_weights_of_companions_stand_in_a_table():
    rows = dict((n, s) for n, s, _ in companion.weighted(3, (1, 8, 8), 2, seed=0))
    assert len(rows) == 18
    records = [
        {
            "method": name,
            "settings": {**weights, "epochs": 2},
            "result": {"acc": weights["companion_weight"]},
        }
        for name, weights in rows.items()
        if name.startswith("DDC-UCO_T") and "linear" not in name
    ]
    table = companion.weights_table(records)
    assert "DDC-UCO_T:" in table and "DDC-UCO_N:" not in table
    assert cells(table.partition("\n\n")[2]) == {
        "constant": ["0.001", "0.010", "0.100"],
        "exponential": ["0.001", "0.010", "0.100"],
        "linear": ["", "", ""],
    }


def test_weights_of_companions_are_those_of_the_fit():
    for _, weights, make in companion.weighted(3, (1, 8, 8), 2, seed=0):
        model = make()
        assert {name: getattr(model, name) for name in weights} == weights
        assert (model.lr, model.max_epochs) == (companion.RATE, 2)


def test_a_curve_reports_and_changes_nothing(tmp_path):
    X = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)).numpy()
    settings = {
        "n_clusters": 3,
        "latent_dim": 2,
        "hidden_layer_sizes": (8,),
        "max_epochs": 12,
        "random_state": 0,
    }
    model = published.recipes.pcx(**settings)
    found = published.measure(lambda: (X, [0, 1, 2] * 20), model)
    curve = found["curve"]
    assert curve["epochs"] == [1, 5, 10]
    assert all(1 / 3 < value <= 1 for value in curve[published.LARGEST])
    assert {len(curve[name]) for name in published.TERMS} == {3}
    assert found["steps"] == 12
    record = {"data": "normal", "method": published.SMALL, "settings": {"epochs": 12}}
    published.draw_losses([{**record, "result": found}], tmp_path / "losses.png")
    assert (tmp_path / "losses.png").stat().st_size > 0
    model = published.recipes.pcx(**settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClusterCollapseWarning)  # as it does
        model.fit(X)
    again = published.clustering_accuracy([0, 1, 2] * 20, model.labels_)
    assert found["acc"] == again


SMALL_PCX = {
    "n_clusters": 3,
    "latent_dim": 2,
    "hidden_layer_sizes": (16,),
    "pretrain_epochs": 5,
    "max_epochs": 6,
    "burn_in_epochs": 3,
    "batch_size": 35,
    "random_state": 0,
}


def test_pcx_without_integration_decodes_codes_alone(blobs):
    model = exemplars.PCXWithoutIntegration(**SMALL_PCX).fit(blobs[0])
    assert model.module_.fusion is None
    z = torch.from_numpy(model.cluster_centers_)
    with torch.no_grad():
        decoded = model.module_.decode(z)
    assert_allclose(model.exemplars_, decoded, rtol=1e-4, atol=1e-5)


def test_pcx_with_fixed_centroids_leaves_them_where_they_start(blobs):
    class Start(Callback):
        def on_train_begin(self, net, **kwargs):
            if net.phase_.name == "burn-in":
                self.centers = net.module_.centers.clone()
                self.sizes = net.module_.sizes.clone()

    start = Start()
    model = exemplars.PCXFixedCentroids(**SMALL_PCX, callbacks=[start]).fit(blobs[0])
    assert_array_equal(model.cluster_centers_, start.centers)
    assert_array_equal(model.cluster_sizes_, start.sizes)
    moved = exemplars.PCX(**SMALL_PCX, callbacks=[start]).fit(blobs[0])
    assert (moved.cluster_centers_ != start.centers.numpy()).any()


@pytest.fixture
def without_peers(monkeypatch):
    """Nothing to compare with is installed."""
    monkeypatch.setattr(_clustpy, "is_installed", lambda: False)
    monkeypatch.setattr(import_module("benchmarks.peers"), "find_spec", lambda _: None)


def test_peers_that_are_missing_are_left_out(tmp_path, monkeypatch, without_peers):
    peers = import_module("benchmarks.peers")
    monkeypatch.setattr(peers, "OURS", ["IDEC", "TensorizedAutoencoder"])
    options = ["--quick", "--output", str(tmp_path)]
    assert peers.BENCHMARK.main(options) == 0
    report = (tmp_path / "peers-quick.md").read_text(encoding="utf-8")
    assert "| TensorizedAutoencoder | " in report
    assert "without records: UMAP + k-means, UMAP + HDBSCAN, ClustPy DEC" in report
    assert "Data without records: digits, COIL-20, MNIST test." in report


def made_up(data, method, *scores, cpu=None, objectives=None):
    """Records of a method on a set of data, a seed a score."""
    records = []
    for seed, score in enumerate(scores):
        result = dict.fromkeys(("acc", "nmi", "ari"), score)
        result |= {"seconds": 8.0, "growth_mib": 10}
        if cpu is not None:
            result["cpu_seconds"] = cpu
        if objectives is not None:
            result["objective"] = objectives[seed]
        records.append({"data": data, "method": method, "seed": seed, "result": result})
    return records


COMPARED = [
    *made_up("iris", "k-means", 0.7, cpu=0.1),
    *made_up("iris", "UMAP + k-means", 0.8, cpu=2),
    *made_up("iris", "DEC", 0.79, 0.81, 0.786, cpu=2, objectives=[3, 1, 2]),
    *made_up("iris", "ClustPy DEC", 0.4),
    *made_up("iris", "PCX", 0.9, cpu=4),
    *made_up("wine", "k-means", 0.9, cpu=0.1),
    *made_up("wine", "UMAP + k-means", 0.6, cpu=2),
    *made_up("wine", "DEC", 0.9, cpu=8),
]
METHODS, SETS = ["DEC", "PCX", "k-means", "UMAP + k-means"], ["iris", "wine"]


def cells(table):
    """Cells of a table's rows by the first one, without the header."""
    rows = [line.strip("|").split("|") for line in table.splitlines()[2:]]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}


def test_a_set_is_sorted_by_nmi_with_references_set_apart():
    table = _comparison.table_of_set([r for r in COMPARED if r["data"] == "iris"])
    rows = cells(table)
    assert list(rows) == ["PCX", "*UMAP + k-means*", "DEC", "*k-means*", "ClustPy DEC"]
    assert rows["PCX"] == ["**0.900**"] * 3 + ["4.00", "10"]
    assert rows["DEC"] == ["0.795 ± 0.013"] * 3 + ["2.00", "10"]
    assert rows["ClustPy DEC"][3] == "≤ 8.00"  # wall seconds bound those of a thread


def test_marks_allow_umap_a_tolerance_and_ask_for_its_time():
    found = group(COMPARED, "data", "method")
    rows = cells(_comparison.marks_table(found, METHODS[:2], SETS))
    assert rows == {
        "DEC": ["✓ ✓", "✓ ✓", "2 of 2", "2 of 2", "1 of 2"],
        "PCX": ["✓ ✓", "", "1 of 1", "1 of 1", "0 of 1"],
    }
    worse = group([*COMPARED, *made_up("wine", "PCX", 0.594, cpu=1)], "data", "method")
    row = cells(_comparison.marks_table(worse, ["PCX"], SETS))["PCX"]
    assert row == ["✓ ✓", "– –", "1 of 2", "1 of 2", "0 of 2"]


def test_standings_rank_only_what_has_records_on_all_sets():
    found = group(COMPARED, "data", "method")
    rows = cells(_comparison.standings_table(found, METHODS, SETS))
    assert list(rows) == ["DEC", "*k-means*", "*UMAP + k-means*", "PCX"]
    # Times 1 and 4 of UMAP's; first on wine beside k-means, second on iris.
    assert rows["DEC"] == ["2", "0.848", "0.700", "+0.148", "2.00", "1.8"]
    assert rows["*UMAP + k-means*"] == ["2", "0.700", "0.700", "+0.000", "1.00", "2.0"]
    assert rows["PCX"] == ["1", "0.900", "0.800", "+0.100", "2.00", ""]


def test_objectives_are_correlated_over_seeds():
    records = [
        *COMPARED,
        *made_up("wine", "PCX", 0.1, 0.2, 0.3, objectives=[1, 2, 3]),
        *made_up("iris", "IDEC", 0.5, 0.5, objectives=[1, 2]),
    ]
    found = group(records, "data", "method")
    table = _comparison.objective_table(found, ["DEC", "PCX", "IDEC"], SETS)
    assert cells(table) == {
        "DEC": ["-0.50", "", "-0.50"],
        "PCX": ["", "+1.00", "+1.00"],
    }
    assert "No objectives" in _comparison.objective_table(found, ["k-means"], SETS)


def test_one_failure_does_not_flatten_the_picture():
    scores = {"k-means": 0.7, "UMAP + k-means": 0.8, "DEC": 0.75}
    assert _comparison.lowest_shown(scores) == 0.7
    assert _comparison.lowest_shown({**scores, "PCX": 0.0}) == pytest.approx(0.45)


def test_peers_are_reported_and_drawn(tmp_path):
    peers = import_module("benchmarks.peers")
    options = parse("peers", ["--output", str(tmp_path)])
    report = peers.BENCHMARK.report(COMPARED, options)
    assert "| iris | DEC    | 1.98 | 1.98 | 1.00 |   1.00 |" in report
    assert "### wine" in report
    assert "Data without records: penguins, digits, COIL-20, MNIST test." in report
    assert "](peers.png)" in report
    assert (tmp_path / "peers.png").read_bytes().startswith(b"\x89PNG")


def test_looks_of_all_methods_and_peers_differ():
    peers = import_module("benchmarks.peers")
    looks = _comparison.looks_of(peers.OURS, peers.PEERS)
    seen = {tuple(look.values()) for look in looks.values()}
    assert len(seen) == len(peers.OURS + peers.PEERS)


def test_a_report_runs_nothing_and_has_what_cannot_be_run(bench):
    bench("--seeds", "3")
    assert bench("--seeds", "1", "--report", "--fresh") == 0
    assert bench.ran == ()
    report = bench.path.with_suffix(".md").read_text(encoding="utf-8")
    assert "0.100 (0.100 ± 0.100)" in report


def test_speed_is_measured_without_peers(tmp_path, monkeypatch, without_peers):
    speed = import_module("benchmarks.speed")
    X, y = speed.digits()
    monkeypatch.setattr(speed, "digits", lambda: (X[:200], y[:200]))
    options = ["--quick", "--output", str(tmp_path)]
    assert speed.BENCHMARK.main(options) == 0
    report = (tmp_path / "speed-quick.md").read_text(encoding="utf-8")
    assert report.count("digits, 64-10") == 3
    assert report.count(" 2+2 |") == len(speed.PROFILED)
    assert "ClustPy was not installed" in report
    lines = (tmp_path / "speed-quick.jsonl").read_text(encoding="utf-8").splitlines()
    profiles = [r for r in map(json.loads, lines) if r["settings"]["part"] == "profile"]
    for record in profiles:
        shares = [record["result"][name] for name in (*speed.ITEMS, speed.REST)]
        assert min(shares) >= 0
        assert sum(shares) == pytest.approx(1)
        assert record["result"][speed.NETWORK] > 0


@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ClusterCollapseWarning")
def test_all_that_is_timed_is_part_of_a_fit(blobs):
    speed = import_module("benchmarks.speed")
    named = {**speed.ITEMS, "clustering": speed.CLUSTERING}
    watch = Stopwatch(
        [
            (owner, function, f"{name}: {function} of {owner.__name__}")
            for name, targets in named.items()
            for owner, function in targets
        ]
    )
    called = set()
    for method in speed.PROFILED:
        model = speed.ours(method, 3, (8,), (1, 2), 0)
        with watch.running():
            model.fit(blobs[0])
            if "init" in model.get_params():
                model.set_params(init="mixture").fit(blobs[0])
                model.set_params(init="auto")
            if "pretraining" in model.get_params():  # that of the default profile
                model.set_params(pretraining="neighbors").fit(blobs[0])
        called |= set(watch.seconds)
    assert called >= {name for _, _, name in watch.targets}


def test_threads_compares_turns_with_one_and_several(tmp_path, monkeypatch):
    threads = import_module("benchmarks.threads")
    monkeypatch.setattr(threads, "SMALL", {"a sum": lambda seed, epochs: sum(range(9))})
    times = {
        threads.ONE: [2.0, 4.0, 4.0],
        threads.SEVERAL: [1.0, 3.0, 4.0],
        f"{threads.ONE}, processor": [1.0, 1.0, 1.0],
        f"{threads.SEVERAL}, processor": [1.0, 1.0, 1.0],
    }
    monkeypatch.setattr(threads, "steps", lambda *_: times)
    options = ["--quick", "--output", str(tmp_path)]
    assert threads.BENCHMARK.main(options) == 0
    report = (tmp_path / "threads-quick.md").read_text(encoding="utf-8")
    assert report.count("a sum") == 1
    large = next(line for line in report.splitlines() if threads.LARGE in line)
    assert [cell.strip() for cell in large.split("|")][6:11] == [
        "0.75",  # the median of the ratios of turns: 0.5, 0.75 and 1
        "0.50",
        "1.00",
        "0.77",
        "yes",
    ]


def test_a_stopwatch_counts_no_second_twice():
    room = SimpleNamespace(inner=lambda: sleep(0.02))
    room.outer = lambda: (sleep(0.01), room.inner())
    before = dict(vars(room))
    with Stopwatch([(room, "outer", "a"), (room, "inner", "b")]).running() as watch:
        room.outer()
        room.inner()
    assert vars(room) == before
    assert 0.01 <= watch.seconds["a"] < 0.04 <= watch.seconds["b"]
    named = watch.seconds["a"] + watch.seconds["b"]
    assert named <= watch.seconds["all"]


def test_processor_time_is_that_of_work_not_of_waiting():
    with FitTime() as waiting:
        sleep(0.2)
    assert waiting.seconds >= 0.2 > 2 * waiting.cpu_seconds
    busy = "from time import process_time\nwhile process_time() < 0.3: pass"
    with FitTime() as child:
        subprocess.run([sys.executable, "-c", busy], check=True)
    assert child.cpu_seconds >= 0.3


def test_threads_are_limited_inside_the_block_only():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with thread_limit(1):
            assert torch.get_num_threads() == 1
            assert all(pool["num_threads"] == 1 for pool in threadpool_info())
        with thread_limit(None):
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_memory_growth_is_that_of_the_block():
    with PeakMemory() as memory:
        held = bytearray(b"1") * (32 * 2**20)
    assert len(held) / 2**20 <= memory.growth + 1 <= 64


def test_figures_below_a_paper_are_listed():
    records = [
        {"data": data, "method": method, "result": {"acc": acc}}
        for data, method, acc in [
            ("images", "A", 0.5),
            ("images", "A", 0.7),
            ("images", "A", 0.8),
            ("images", "B", 0.9),
            ("images", "no figure", 0.1),
        ]
    ]
    published = {("images", "A", "acc"): ".75", ("images", "B", "acc"): ".9"}
    lines = shortfalls(records, published).splitlines()
    assert len(lines) == 3
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == [
        "images", "A", ".75", "0.700", "0.050",
    ]  # fmt: skip
    assert "on record" in shortfalls(records, {})


def test_markdown_table_is_aligned():
    table = markdown_table(["name", "x"], [["a", "1.25"], ["long name", "3"]])
    assert table.splitlines() == [
        "| name      |    x |",
        "| :-------- | ---: |",
        "| a         | 1.25 |",
        "| long name |    3 |",
    ]


def test_operations_of_a_step_are_those_of_its_products():
    # Input 2, code 3: 2 x 3 forth and to the weights; 3 x 2 forth, back and back.
    assert speed_step.step_operations((2, 3), 5) == 2 * 5 * (2 * 6 + 3 * 6)


def test_only_plain_figures_of_papers_are_compared():
    records = [{"data": d, "method": "DEC", "result": {"acc": 0.5}} for d in "abc"]
    quoted = {("a", "DEC", "acc"): ".9", ("b", "DEC", "acc"): ".7-.8"}
    table = shortfalls(records, quoted)
    assert "0.400" in table
    assert table.count("DEC") == 1
    assert "on record" in shortfalls(records[1:], quoted)
    assert shortfalls(records[:1], {("a", "DEC", "acc"): ".3"}) == "None."


def test_the_best_of_a_set_of_data_is_bold_and_kmeans_in_italics():
    def record(data, method, seed, **result):
        return {"data": data, "method": method, "seed": seed, "result": result}

    records = [
        record("iris", "k-means", 0, nmi=0.7, mse=0.5, seconds=1),
        record("iris", "DEC", 0, nmi=0.8, mse=0.7, seconds=9),
        record("iris", "DEC", 1, nmi=0.9, mse=0.9, seconds=9),
        record("wine", "DEC", 0, nmi=0.1, mse=0.1, seconds=9),
    ]
    table = results_table(records, {"nmi": "NMI", "mse": "MSE", "seconds": "s"})
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in table.splitlines()[2:]
    ]
    assert cells[0] == ["iris", "*k-means*", "0.700", "**0.500**", "1.000"]
    assert cells[1][1:3] == ["DEC", "**0.850 (0.850 ± 0.071)**"]
    assert "*" not in "".join(cells[2])  # alone, it is not the best of anything


@pytest.mark.parametrize("has_peer", [False, True])
def test_devices_are_compared(has_peer, monkeypatch):
    X = np.random.default_rng(0).random((40, 6)).astype(np.float32)

    def make_peer(method, n_clusters, n_features, sizes, max_epochs, device, **others):
        assert (method, n_features, device) == ("DCN", 6, "meta")
        return KMeans(n_clusters, max_iter=max_epochs)

    monkeypatch.setattr(_clustpy, "is_installed", lambda: has_peer)
    monkeypatch.setattr(_clustpy, "make", make_peer)
    with StandInDevice():
        found = device.compare("DCN", (8,), "meta", 1, X, 0, epochs=(1, 2))
        rate = {"rate": device.rate_of_products("meta", 8, 1)}
    settings = {"device": "meta", "repeats": 1}
    records = [
        {"data": "products", "method": "meta", "settings": settings, "result": rate},
        {"data": "64", "method": "DCN", "settings": settings, "result": found},
    ]
    table = device.report(records, None).partition("\n\n")[2]
    assert cells(table)["64"][:2] == ["DCN", "meta"]
    assert bool(cells(table)["64"][-1]) == has_peer


# --- selection ------------------------------------------------------------------------


def searched(data, true, **found):
    record = {"data": data, "method": "search with k-means", "seed": 0}
    return {**record, "settings": {"true": true}, "result": found}


def judged(method, seed, **found):
    record = {"data": "iris", "method": method, "seed": seed}
    return {**record, "settings": {"max_epochs": 20}, "result": found}


def test_numbers_that_are_found_are_counted_by_how_far_off_they_are():
    records = [
        searched("planted, 4", 4, stability=4, evidence=5),
        searched("planted, 5", 5, stability=5, evidence=9),
        searched("planted, 20", 20, stability=19),
        searched("uniform", 1, stability=1, evidence=3),
        searched("iris", 3, stability=2),
    ]
    table = selection.counts_table(records)
    rows = {line.split("|")[1].strip(): line for line in table.splitlines()}
    cells = [cell.strip() for cell in rows["stability"].split("|")[2:-1]]
    assert cells == ["2 of 2", "0 of 2", "0 of 2", "0 of 1", "1 of 1", "1 of 1"]
    cells = [cell.strip() for cell in rows["evidence"].split("|")[2:-1]]
    assert cells == ["0 of 2", "1 of 2", "1 of 2", "0 of 0", "0 of 0", "0 of 1"]
    assert "| iris | k-means | stability |" in selection.sets_table(records)


def test_fits_are_judged_without_labels_and_by_their_nmi(blobs):
    found = selection.judged(lambda: blobs, "DCN", 3, 0)
    assert found["nmi"] == 1
    assert {"stability", "evidence", "objective"} <= set(found)
    assert {"silhouette, X", "neighbors, code"} <= set(found)


def test_criteria_are_correlated_with_nmi_over_methods():
    records = [
        judged(name, seed, nmi=i / 6, stability=i / 6 + seed, objective=-i)
        for i, name in enumerate("abcdef")
        for seed in range(2)
    ]
    records[0]["result"]["slope"] = 0.5  # of one method only: no correlation
    table = selection.ranking_table({"iris": records}, over_methods=True)
    rows = {line.split("|")[1].strip(): line for line in table.splitlines()}
    assert "+1.00" in rows["stability"] and "1 of 1" in rows["stability"]
    assert "-1.00" in rows["objective"] and "0 of 1" in rows["objective"]
    assert "R-OFM slope" not in rows
    assert "0.833" in selection.chosen_table({"iris": records})
    page = selection.BENCHMARK.report([*records, searched("iris", 3, auto=2)], None)
    assert "over 6 clusterers" in page


# --- scale ----------------------------------------------------------------------------


def fake_fits(monkeypatch, seconds):
    """Fits that take ``seconds(n)``; returns the sizes that are asked for."""
    asked = []

    def fit(method, n, d, k):
        asked.append(n)
        return {"cpu_seconds": seconds(n), "mib": n / 100, "rate": 5.0}

    monkeypatch.setattr(scale, "measure_fit", fit)
    return asked


def test_a_series_ends_before_a_fit_that_would_take_too_long(monkeypatch):
    asked = fake_fits(monkeypatch, lambda n: 1e-8 * n**2)
    series = [(n, 2, 3) for n in (1_000, 10_000, 100_000, 1_000_000)]
    found = scale.measure_series("DEC", series, "rows")
    assert asked == found["sizes"] == [1_000, 10_000, 100_000]
    assert found["end"] == "1,000,000 would take about 10,000 s"
    record = {"data": "rows", "method": "DEC", "settings": {"sizes": series}}
    table = scale.growth_table([{**record, "result": found}], "rows")
    assert cells(table)["DEC"] == [
        "0.0 (10)",
        "1.0 (100)",
        "100.0 (1000)",
        "—",
        "**2.00**",
        "5",
        "",
    ]


def test_a_series_ends_where_a_fit_announces_that_it_will_take_long(monkeypatch):
    def fit(method, n, d, k):
        warnings.warn("about 3 hours", LongFitWarning, stacklevel=1)

    monkeypatch.setattr(scale, "measure_fit", fit)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = scale.measure_series("DEC", [(10, 2, 3)], "clusters")
    assert (found["sizes"], found["end"]) == ([], "3: about 3 hours")


def test_growth_is_measured_in_fits_of_one_epoch():
    found = scale.measure_fit("DCN", 300, 4, 3)
    assert found["cpu_seconds"] > 0 and found["rate"] > 0
    model = scale.short_model("PCX", 3)
    assert (model.max_epochs, model.burn_in_epochs, model.n_init) == (1, 0, 1)
    assert scale.slope([1, 10, 100], [2, 20, 200]) == pytest.approx(1)
