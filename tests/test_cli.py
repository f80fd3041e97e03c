import gzip
import io
import subprocess
import sys
from configparser import ConfigParser
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from deepcluster_sk import Autoencoder, TensorizedAutoencoder, _cli
from deepcluster_sk.datasets import load_penguins


@pytest.fixture
def penguins(tmp_path):
    """A CSV file of the penguins, with a header and a column of words."""
    X, y = load_penguins(return_X_y=True)
    lines = ["bill,depth,flipper,mass,species"]
    for row, species in zip(X / X.max(axis=0), y, strict=True):
        lines.append(",".join([*map(str, row), "ACG"[species]]))
    path = tmp_path / "penguins.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def refused(capsys):
    """Run a command that must fail; returns what it says."""

    def run(*arguments):
        assert _cli.main([*map(str, arguments)]) == 2
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.startswith("python -m deepcluster_sk: error: ")
        return output.err

    return run


def test_a_file_is_clustered_and_all_outputs_are_written(penguins, capsys):
    paths = [penguins.with_name(n) for n in ("l.csv", "codes.npy", "picture.png")]
    arguments = [penguins, "--drop", "species", "-k", 3, "--labels", paths[0]]
    arguments += ["--embedding", paths[1], "--picture", paths[2]]
    assert _cli.main(list(map(str, arguments))) == 0
    output = capsys.readouterr()
    assert output.out == ""
    assert "342 rows, 4 columns" in output.err
    header, *labels = paths[0].read_text(encoding="utf-8").split()
    assert header == "cluster"
    X = load_penguins(return_X_y=True)[0]
    model = TensorizedAutoencoder(3, random_state=0).fit(X / X.max(axis=0))
    np.testing.assert_array_equal(np.array(labels, dtype=int), model.labels_)
    assert np.load(paths[1]).shape == (342, model.latent_dim_)
    assert paths[2].read_bytes().startswith(b"\x89PNG")


def test_labels_go_to_standard_output_unless_a_file_is_named(penguins, capsys):
    assert _cli.main([str(penguins), "--drop", "4", "-k", "2"]) == 0
    header, *labels = capsys.readouterr().out.splitlines()
    assert header == "cluster"
    assert len(labels) == 342
    assert set(labels) == {"0", "1"}


def test_parameters_and_scaling_reach_the_method(penguins, monkeypatch):
    seen = []
    monkeypatch.setattr(_cli, "fit", lambda model, X: seen.append((model, X)) or 1 / 0)
    arguments = [str(penguins), "--drop", "species", "-k", "3", "--seed", "7"]
    arguments += ["--method", "idec", "--scale", "standard"]
    arguments += ["--set", "hidden_layer_sizes=16,8", "--set", "optimizer=sgd"]
    with pytest.raises(ZeroDivisionError):
        _cli.main([*arguments, "--set", "clustering_weight=0.5"])
    ((model, X),) = seen
    assert type(model).__name__ == "IDEC"
    assert (model.n_clusters, model.random_state) == (3, 7)
    assert model.hidden_layer_sizes == (16, 8)
    assert model.optimizer == "sgd"
    assert model.clustering_weight == 0.5
    np.testing.assert_allclose(X.std(axis=0), 1)


def test_npy_and_headerless_csv_and_tsv_give_the_same_labels(tmp_path, capsys):
    X = np.random.default_rng(0).normal(size=(30, 3)) + np.repeat([0, 9], 15)[:, None]
    np.save(tmp_path / "x.npy", X)
    np.savetxt(tmp_path / "x.csv", X, delimiter=",", fmt="%.17g")
    np.savetxt(tmp_path / "x.tsv", X, delimiter="\t", fmt="%.17g")
    outputs = set()
    for name in ("x.npy", "x.csv", "x.tsv"):
        assert _cli.main([str(tmp_path / name), "-k", "2"]) == 0
        outputs.add(capsys.readouterr().out)
    assert len(outputs) == 1


def test_compressed_and_semicolon_files_and_standard_input_give_the_same_labels(
    tmp_path, capsys, monkeypatch
):
    X = three_groups(30)
    lines = ["a,b", *(f"{a!r},{b!r}" for a, b in X.tolist())]
    text = "\n".join(lines)
    german = text.replace(",", ";").replace(".", ",")
    (tmp_path / "x.csv").write_text(text)
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "x.tsv.gz").write_bytes(gzip.compress(text.replace(",", "\t").encode()))
    (tmp_path / "semicolon.csv").write_text(text.replace(",", ";"))
    (tmp_path / "german.csv").write_text("\ufeff" + german, encoding="utf-8")
    names = ("x.csv", "x.csv.gz", "x.tsv.gz", "semicolon.csv", "german.csv")
    outputs = set()
    for name in names:
        assert _cli.main([str(tmp_path / name), "-k", "3"]) == 0
        outputs.add(capsys.readouterr().out)
    for typed in (text, german):
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        assert _cli.main(["-", "-k", "3"]) == 0
        outputs.add(capsys.readouterr().out)
    assert len(outputs) == 1


def test_quoted_commas_do_not_decide_what_separates(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('"length, mm, dry";"depth, mm"\n1;2\n3;4\n')
    X, names = _cli.read(path)
    assert names == ["length, mm, dry", "depth, mm"]
    assert X.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("scale", ["none", "standard", "range"])
def test_new_rows_go_to_the_clusters_of_a_saved_model(penguins, capsys, scale):
    saved, new = penguins.with_name("birds"), penguins.with_name("new.csv")
    fit = [str(penguins), "--drop", "species", "-k", "3", "--scale", scale]
    assert _cli.main([*fit, "--save", str(saved)]) == 0
    labels = capsys.readouterr().out.split()
    # Columns are found by name, in another order and among others.
    rows = [line.split(",") for line in penguins.read_text().splitlines()]
    picked = [",".join(row[i] for i in (4, 2, 0, 1, 3)) for row in rows[:9]]
    new.write_text("\n".join(picked))
    codes = penguins.with_name("codes.npy")
    predict = [str(new), "--model", str(saved), "--embedding", str(codes)]
    assert _cli.main(predict) == 0
    output = capsys.readouterr()
    assert output.out.split() == labels[:9]
    assert "8 new rows; clusters of" in output.err
    assert len(np.load(codes)) == 8


def test_a_model_that_does_not_fit_is_refused(penguins, capsys, refused):
    saved, other = penguins.with_name("birds"), penguins.with_name("other.csv")
    assert "cannot be read" in refused(penguins, "--model", saved)
    assert "no file of deepcluster_sk" in refused(penguins, "--model", penguins)
    fit = [str(penguins), "--drop", "species", "--drop", "mass", "-k", "3"]
    assert _cli.main([*fit, "--save", str(saved)]) == 0
    capsys.readouterr()
    other.write_text("bill,flipper\n1,2\n")
    message = refused(other, "--model", saved)
    assert "fitted to columns bill, depth, flipper; there is no column depth" in message
    for option in (["-k", 3], ["--scale", "range"], ["--save", other]):
        assert f"leave out {option[0].replace('-k', '--n-clusters')}" in refused(
            penguins, "--model", saved, *option
        )
    assert "no folder" in refused(*fit, "--save", penguins.with_name("a") / "b")


def test_a_model_of_python_takes_a_file(penguins, capsys):
    X = load_penguins(return_X_y=True)[0]
    model = TensorizedAutoencoder(3, random_state=0).fit(X / X.max(axis=0))
    saved = penguins.with_name("birds")
    model.save(saved)
    numbers = penguins.with_name("x.npy")
    np.save(numbers, X[:5] / X.max(axis=0))
    assert _cli.main([str(numbers), "--model", str(saved)]) == 0
    assert capsys.readouterr().out.split()[1:] == list(map(str, model.labels_[:5]))
    np.save(numbers, X[:5, :3])
    assert _cli.main([str(numbers), "--model", str(saved)]) == 2
    assert "3 features" in capsys.readouterr().err


def test_parquet_is_read(tmp_path, capsys):
    pytest.importorskip("pyarrow")
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"a": [0.0, 1, 9, 8], "b": [0, 0, 9, 9], "c": list("abcd")}
    )
    frame.to_parquet(tmp_path / "x.parquet")
    assert _cli.main([str(tmp_path / "x.parquet"), "-k", "2", "--drop", "c"]) == 0
    assert len(capsys.readouterr().out.split()) == 5
    assert _cli.main([str(tmp_path / "x.parquet"), "-k", "2"]) == 2
    assert "column c" in capsys.readouterr().err


def test_wrong_files_are_refused(tmp_path, refused):
    assert "no such file" in refused(tmp_path / "none.csv", "-k", 2)
    assert "must end in one of .csv" in refused(tmp_path / "x.xlsx", "-k", 2)
    (tmp_path / "empty.csv").write_text("a,b\n")
    assert "holds no rows" in refused(tmp_path / "empty.csv", "-k", 2)
    (tmp_path / "ragged.csv").write_text("1,2\n3\n")
    assert "record 2 has 1 fields" in refused(tmp_path / "ragged.csv", "-k", 2)
    np.save(tmp_path / "cube.npy", np.zeros((2, 3, 4)))
    assert "(2, 3, 4)" in refused(tmp_path / "cube.npy", "-k", 2)
    (tmp_path / "fake.npy").write_text("text")
    assert "no array that numpy.save wrote" in refused(tmp_path / "fake.npy", "-k", 2)
    np.save(tmp_path / "words.npy", np.array([["a", 1], ["b", 2]], dtype=object))
    message = refused(tmp_path / "words.npy", "-k", 2)
    assert "real numbers" in message and "pickle" not in message
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"1,2\n3,4\n")[:-9])
    assert "cannot be read" in refused(tmp_path / "cut.csv.gz", "-k", 2)
    assert "cannot tell the format" in refused(tmp_path / "x.gz", "-k", 2)


def test_words_and_gaps_are_named(penguins, tmp_path, refused):
    message = refused(penguins, "-k", 3)
    assert "column species" in message
    assert "--drop 'species'" in message
    assert "no column 'island'" in refused(penguins, "-k", 3, "--drop", "island")
    (tmp_path / "gap.csv").write_text("a,b\n1,2\n3,\n5,6\n")
    message = refused(tmp_path / "gap.csv", "-k", 2)
    assert "column b" in message
    assert "row 2" in message


def test_wrong_methods_and_parameters_are_refused(penguins, refused):
    data = [penguins, "--drop", "species", "-k", 3]
    message = refused(*data, "--method", "kmeans")
    assert all(name in message for name in ("DEC", "PCX", "TensorizedAutoencoder"))
    assert "code_penalty" in refused(*data, "--set", "gamma=1")
    assert "Did you mean 'max_epochs'?" in refused(*data, "--set", "max_epoch=3")
    assert "Did you mean 'IDEC'?" in refused(*data, "--method", "iddec")
    assert "Did you mean 'species'?" in refused(penguins, "--drop", "specis")
    assert "KEY=VALUE" in refused(*data, "--set", "gamma")
    assert "'code_penalty' parameter" in refused(*data, "--set", "code_penalty=7")
    assert "n_clusters=999" in refused(penguins, "--drop", "species", "-k", 999)
    assert "must end in .png" in refused(*data, "--picture", "a.pdf")
    assert "no folder" in refused(*data, "--labels", "nowhere/labels.csv")


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, refused):
    (tmp_path / "x.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "deepcluster_sk[parquet]" in refused(tmp_path / "x.parquet", "-k", 2)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    message = refused(tmp_path / "x.csv", "-k", 2, "--picture", "x.png")
    assert "deepcluster_sk[plot]" in message


def test_warnings_become_lines(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.ones((20, 2)))
    arguments = [str(tmp_path / "x.npy"), "-k", "3", "--method", "dcn"]
    arguments += ["--set", "hidden_layer_sizes=()", "--set", "max_epochs=2"]
    assert _cli.main([*arguments, "--set", "pretrain_epochs=0"]) == 0
    assert "warning: DCN uses" in capsys.readouterr().err


def three_groups(n=90):
    rng = np.random.default_rng(0)
    centers = 9 * np.array([[0, 0], [1, 0], [0, 1]])
    return rng.normal(size=(n, 2)) + centers[np.arange(n) % 3]


@pytest.mark.parametrize("header", [",a,b", "id,a,b", None])
def test_an_index_is_left_out(tmp_path, capsys, header):
    path, X = tmp_path / "x.csv", three_groups()
    rows = [f"{i},{a},{b}" for i, (a, b) in enumerate(X.tolist())]
    path.write_text("\n".join([header, *rows] if header else rows))
    assert _cli.main([str(path), "-k", "3"]) == 0
    output = capsys.readouterr()
    name = "'id'" if header == "id,a,b" else "" if header else "'0'"
    what = (
        f"column {name}, which counts the rows" if name else "the first column, which"
    )
    assert f"left out {what}" in output.err
    assert "90 rows, 2 columns" in output.err
    path.write_text("\n".join(["a,b", *(row.partition(",")[2] for row in rows)]))
    assert _cli.main([str(path), "-k", "3"]) == 0
    assert capsys.readouterr().out == output.out


def test_an_index_can_stay_or_be_dropped_by_name(tmp_path, capsys):
    path, X = tmp_path / "x.csv", three_groups()
    rows = [f"{i},{a},{b}" for i, (a, b) in enumerate(X.tolist(), start=1)]
    path.write_text("\n".join(["id,a,b", *rows]))
    for option, width in (("--keep-index", 3), ("--drop=id", 2), ("--drop=0", 2)):
        assert _cli.main([str(path), "-k", "3", option]) == 0
        errors = capsys.readouterr().err
        assert "left out" not in errors
        assert f"{width} columns" in errors


def test_columns_dropped_by_number_are_those_of_the_file():
    X, names = _cli.drop_columns(np.arange(8.0).reshape(2, 4), [*"abcd"], ["0", "1"])
    assert names == ["c", "d"] and X.tolist() == [[2, 3], [6, 7]]
    X, names = _cli.drop_columns(np.arange(8.0).reshape(2, 4), [*"abcd"], ["b", "3"])
    assert names == ["a", "c"] and X.tolist() == [[0, 2], [4, 6]]


@pytest.mark.parametrize(
    ("option", "name"),
    [("--save", "x"), ("--labels", "x.csv"), ("--embedding", "x.npy")],
)
def test_a_folder_is_no_output(option, name, penguins, refused):
    folder = penguins.with_name(name)
    folder.mkdir()
    said = refused(penguins, "--drop", "species", "-k", "3", option, folder)
    assert said.endswith(f"{folder} is a folder.\n")


def test_a_model_without_clusters_is_refused(penguins, refused):
    X = np.random.default_rng(0).normal(size=(20, 4))
    saved = penguins.with_name("codes")
    Autoencoder(hidden_layer_sizes=(4,), max_epochs=1).fit(X).save(saved)
    assert "holds an Autoencoder" in refused(penguins, "--model", saved)


def test_what_only_resembles_an_index_stays(tmp_path, capsys):
    X = three_groups()
    for first in (range(1990, 1990 + len(X)), np.arange(len(X)) // 2):
        path = tmp_path / "x.csv"
        rows = [f"{i},{a},{b}" for i, (a, b) in zip(first, X.tolist(), strict=True)]
        path.write_text("\n".join(["year,a,b", *rows]))
        assert _cli.main([str(path), "-k", "3"]) == 0
        assert "90 rows, 3 columns" in capsys.readouterr().err
    np.save(tmp_path / "x.npy", np.column_stack([np.arange(len(X)), X]))
    assert _cli.main([str(tmp_path / "x.npy"), "-k", "3"]) == 0
    assert "90 rows, 3 columns" in capsys.readouterr().err


def test_different_scales_are_warned_of(tmp_path, capsys):
    path, X = tmp_path / "x.csv", three_groups()
    lines = ["a,b,mass", *(f"{a},{b},{500 * a}" for a, b in X.tolist())]
    path.write_text("\n".join(lines))
    assert _cli.main([str(path), "-k", "3"]) == 0
    errors = capsys.readouterr().err
    assert "the deviation of column mass is" in errors
    assert "--scale standard" in errors
    for option in (["--scale", "standard"], ["--drop", "mass"]):
        assert _cli.main([str(path), "-k", "3", *option]) == 0
        assert "very different scale" not in capsys.readouterr().err


def test_without_a_number_one_is_searched(tmp_path, capsys):
    np.save(tmp_path / "x.npy", three_groups())
    assert _cli.main([str(tmp_path / "x.npy"), "-k", "2-4"]) == 0
    output = capsys.readouterr()
    assert "3 clusters, chosen by stability" in output.err
    table = [line.split() for line in output.err.splitlines()[:4]]
    assert [row[0] for row in table] == ["k", "2", "3", "4"]
    assert [row[-1] for row in table[1:]].index("<") == 1
    assert {*output.out.split()} == {"cluster", "0", "1", "2"}
    assert _cli.build_parser().parse_args(["x.npy"]).n_clusters == range(2, 11)


def test_no_structure_is_one_cluster(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(90, 2)))
    assert _cli.main([str(tmp_path / "x.npy"), "-k", "2-3"]) == 0
    output = capsys.readouterr()
    assert "1 cluster: no number shows more structure" in output.err
    assert {*output.out.split()} == {"cluster", "0"}


def test_a_number_among_the_parameters_is_not_searched(tmp_path, capsys):
    np.save(tmp_path / "x.npy", three_groups())
    assert _cli.main([str(tmp_path / "x.npy"), "--set", "n_clusters=2"]) == 0
    output = capsys.readouterr()
    assert "chosen" not in output.err
    assert {*output.out.split()} == {"cluster", "0", "1"}


@pytest.mark.parametrize("wrong", ["4-2", "0-3", "two", "2-"])
def test_wrong_numbers_are_refused(tmp_path, capsys, wrong):
    with pytest.raises(SystemExit):
        _cli.main(["x.npy", "-k", wrong])
    assert "-k/--n-clusters" in capsys.readouterr().err


def test_help_names_every_method():
    command = [sys.executable, "-m", "deepcluster_sk", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert all(name in text for name in _cli.methods())
    assert "Autoencoder " not in text.replace("TensorizedAutoencoder", "")


def test_the_console_script_is_the_same_command(monkeypatch):
    config = ConfigParser()
    config.read(Path(__file__).parents[1] / "setup.cfg")
    scripts = config["options.entry_points"]["console_scripts"]
    name, _, target = scripts.strip().partition(" = ")
    module, _, function = target.partition(":")
    assert getattr(import_module(module), function) is _cli.main
    monkeypatch.setattr(sys, "argv", [f"/usr/bin/{name}"])
    assert _cli.build_parser().prog == name
