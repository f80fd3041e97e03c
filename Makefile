# Every target makes the virtual environment it needs; `make help` lists them.

VENV := .venv
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/installed
BENCHMARKS ?=
PAGES ?= nightly or not nightly
DEVICE ?= cuda
PYTEST := OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n 2 --doctest-modules --doctest-glob='*.rst' tests deepcluster_sk docs

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-rounding test-gpu lint docs test-docs test-browser test-oldest test-newest benchmarks benchmarks-gpu check-wheel clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

demo: $(INSTALLED)  ## cluster and denoise real data; writes demo.png
	$(PYTHON) -m benchmarks.demo

test: $(INSTALLED)  ## run the tests and the examples in docstrings
	$(PYTEST)

test-all: $(INSTALLED)  ## run those too that take minutes, each on its own
	$(PYTEST) -m ''

test-rounding: $(INSTALLED)  ## compare computations under other vector instructions
	OMP_NUM_THREADS=1 ATEN_CPU_CAPABILITY=default MKL_CBWR=COMPATIBLE $(PYTHON) -m pytest -n 2 --dist loadfile -m rounding tests
	OMP_NUM_THREADS=1 ATEN_CPU_CAPABILITY=avx2 $(PYTHON) -m pytest -n 2 --dist loadfile -m rounding tests

test-gpu: $(INSTALLED)  ## fit every estimator on a GPU: make test-gpu DEVICE=cuda PYTHON=python
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest tests/test_device.py --device $(DEVICE)

lint: $(INSTALLED)  ## check style, formatting, and the types that a user sees
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy --config-file tests/typing_user.ini tests/typing_user.py

docs: $(INSTALLED)  ## build the documentation into docs/_build
	$(PYTHON) -m sphinx -W --keep-going -b html docs docs/_build

test-docs: $(INSTALLED)  ## check the pages that make docs has built: links, pictures, headings
	$(PYTHON) -m pytest -q tests/built_pages.py

test-browser: $(INSTALLED)  ## open them in a browser, if there is one: widths, contrast, the console
	$(PYTHON) -m pytest -q -m '$(PAGES)' tests/pages_in_browser.py

test-oldest:  ## test with the oldest packages that setup.cfg allows, in an empty environment
	.ci/test-versions oldest

test-newest:  ## test with the newest packages that there are, in an empty environment
	.ci/test-versions newest

benchmarks: $(INSTALLED)  ## run the benchmarks, or some: make benchmarks BENCHMARKS="tensorized"
	$(PYTHON) -m benchmarks $(BENCHMARKS)

benchmarks-gpu: $(INSTALLED)  ## time training on a GPU beside the CPU
	$(PYTHON) -m benchmarks.device

check-wheel:  ## build sdist and wheel of the last commit, check them, try the wheel
	.ci/check-wheel

clean:  ## remove the environment and everything built
	rm -rf $(VENV) build dist docs/_build docs/generated docs/auto_examples .pytest_cache .ruff_cache *.egg-info demo.png

# One environment serves all targets. It is made again when what it holds changes.
$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	test -x $(PYTHON) || python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet -c constraints.txt -e '.[tests,docs,browser]'
	touch $@
