"""Pages of the documentation made of committed records, at each build.

``docs/results`` holds the records, one ``<suite>.jsonl`` a suite, as
``python -m benchmarks <suite> --output docs/results`` writes them. Tables, plots and
footnotes come from the suite's own ``report``; nothing is typed. A suite without
records is left out, with the command that makes them. Suites import peers within their
jobs, not at the top: the documentation is built without them.
"""

import inspect
from importlib import import_module
from pathlib import Path

from benchmarks._harness import Records, footnote, parse

INDEX = """\
# Results

Every figure on these pages is made from the records of `python -m benchmarks` when the
documentation is built. Labels score and never choose; parameters are the defaults
unless a page says otherwise; each page ends with the versions and the machine. Where a
figure of a paper stands beside a measured one, the paper's is quoted, not reproduced.
Times were taken on a machine of two cores that had other work as well: they tell
seconds from minutes. Processor (CPU) seconds, where they are given, are without it.

{pages}
{missing}
"""
TOCTREE = """\
```{{toctree}}
:maxdepth: 1

{names}
```
"""


def write_pages(records_folder, output, suites):
    """Write a page a suite and an index, as Markdown.

    Parameters
    ----------
    records_folder : Path
        Holds the records.
    output : Path
        Where pages and figures go; made if it is not there.
    suites : sequence of str
        Names of modules in ``benchmarks``.

    Returns
    -------
    written : list of str
        The suites that have a page.
    """
    output.mkdir(parents=True, exist_ok=True)
    for old in [*output.glob("*.md"), *output.glob("*.png")]:
        old.unlink()
    written, missing = [], []
    for suite in suites:
        path = records_folder / f"{suite}.jsonl"
        if path.exists():
            records = Records(path).records
            module = import_module(f"benchmarks.{suite}")
            page = make_page(module, records, suite, output)
            (output / f"{suite}.md").write_text(page, encoding="utf-8")
            written.append(suite)
        else:
            missing.append(suite)
    index = INDEX.format(
        pages=TOCTREE.format(names="\n".join(written)) if written else "",
        missing=_commands(missing),
    )
    (output / "index.md").write_text(index.rstrip() + "\n", encoding="utf-8")
    return written


def make_page(module, records, suite, output):
    """Text of a suite's page; its figures are saved beside it.

    Parameters
    ----------
    module : module
        Has ``BENCHMARK`` and a docstring that says what is measured.
    records : list of dict
    suite : str
    output : Path

    Returns
    -------
    str
    """
    report = module.BENCHMARK.report(records, parse(suite, ["--output", str(output)]))
    if not report.startswith("# "):
        title, _, rest = inspect.getdoc(module).partition("\n")
        report = f"# {title.rstrip('.')}\n{rest}\n\n{report}"
    figures = "\n\n".join(
        f"![{path.stem}]({path.name})"
        for path in [
            *output.glob(f"{suite}.png"),
            *sorted(output.glob(f"{suite}-*.png")),
        ]
        if path.name not in report
    )
    made = (
        f"Made by `{_command(suite)}`, from {len(records)} records in "
        f"`docs/results/{suite}.jsonl`."
    )
    return "\n\n".join([report, figures, made, footnote(records)]) + "\n"


def _command(suite):
    return f"python -m benchmarks {suite} --output docs/results"


def _commands(suites):
    if not suites:
        return ""
    lines = "\n".join(f"- {suite}: `{_command(suite)}`" for suite in suites)
    return f"Without records so far; the command makes them:\n\n{lines}"


def build(root):
    """Write the pages of all suites under ``docs/generated/results``.

    Parameters
    ----------
    root : Path
        Folder of the repository.

    Returns
    -------
    written : list of str
    """
    from benchmarks.__main__ import SUITES

    docs = Path(root) / "docs"
    return write_pages(docs / "results", docs / "generated" / "results", SUITES)
