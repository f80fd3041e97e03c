import json

import pytest

from benchmarks import _pages
from benchmarks._harness import Benchmark, environment, results_table


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """A folder with records of one of two suites, and one for the pages."""
    records, output = tmp_path / "results", tmp_path / "pages"
    records.mkdir()
    record = {
        "data": "iris",
        "method": "k-means",
        "settings": {},
        "environment": environment(),
    }
    lines = [
        json.dumps({**record, "seed": seed, "result": {"ari": seed / 4}})
        for seed in (1, 3)
    ]
    (records / "measured.jsonl").write_text("\n".join(lines) + "\n")

    class Measured:
        """How well toys are told apart.

        Seeds decide the starts.
        """

        @staticmethod
        def _report(records, options):
            options.figure().write_bytes(b"")
            return results_table(records, {"ari": "ARI"})

    Measured.BENCHMARK = Benchmark("measured", None, Measured._report)
    monkeypatch.setattr(_pages, "import_module", lambda name: Measured)
    return records, output


def test_pages_are_made_of_the_records(folders):
    records, output = folders
    assert _pages.write_pages(records, output, ["measured", "missing"]) == ["measured"]
    page = (output / "measured.md").read_text(encoding="utf-8")
    assert page.startswith("# How well toys are told apart\n\nSeeds decide")
    assert "0.500 (0.500 ± 0.354)" in page
    assert "![measured](measured.png)" in page
    assert "from 2 records" in page
    assert "Measured with deepcluster_sk" in page


def test_what_is_not_measured_names_its_command(folders):
    records, output = folders
    _pages.write_pages(records, output, ["measured", "missing"])
    index = (output / "index.md").read_text(encoding="utf-8")
    assert "\nmeasured\n" in index
    assert "`python -m benchmarks missing --output docs/results`" in index
    assert "benchmarks measured" not in index


def test_pages_of_records_that_are_gone_go_too(folders):
    records, output = folders
    _pages.write_pages(records, output, ["measured"])
    (records / "measured.jsonl").unlink()
    _pages.write_pages(records, output, ["measured"])
    assert [path.name for path in output.iterdir()] == ["index.md"]
