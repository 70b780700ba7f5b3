# Each target does its complete set-up. PYTHON may name another interpreter (3.11 to 3.13).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CORES ?= all
SELDOM := /(tests?|testing|transformers/models|sympy|_inductor)/
REQUIREMENTS = --constraint constraints.txt --editable '.[workflow,dev]'
export PYTHONDONTWRITEBYTECODE :=

# tests of one file share fixtures and stay together; slow tests are distributed one by one, the longest first
WORKERS := 2
PYTEST = PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n $(WORKERS) --no-loadscope-reorder $(PYTEST_ARGS)

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-study slow fuzz faults lint docs clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## */\t/' | expand -t 14

venv: $(STAMP)  ## .venv with everything, pinned by constraints.txt

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@# torch by pip, which knows the builds that this machine offers; the rest by uv, which is much faster
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt uv torch
	$(BIN)/uv pip install --quiet --python $(BIN)/python $(REQUIREMENTS) \
	  || $(BIN)/python -m pip install --quiet --no-compile $(REQUIREMENTS)
	@# compiled here in parallel, except modules that are seldom imported; files that are not valid Python are skipped
	$(BIN)/python -m compileall -q -j 0 -x '$(SELDOM)' $(VENV)/lib > /dev/null 2>&1 || true
	touch $@

demo: venv  ## the embedded demo, from raw scans to the report
	PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --cores $(CORES)
	@echo "open results/report/index.html"

test: venv  ## units: under 4 minutes
	$(PYTEST) -m unit --dist loadfile

test-study: venv  ## stages on a small study, and commands: under 8 minutes
	$(PYTEST) -m "study and not slow" --dist loadfile

# one worker more than cores, because some of these tests mostly wait for Slurm
slow: WORKERS := 3
slow: venv  ## real data, a real Slurm, killed processes: half an hour
	$(PYTEST) -m slow --dist loadscope

# damaged files for every reader; findings are written to FOUND
fuzz: INPUTS ?= 20000
fuzz: SEED ?= 0
fuzz: FOUND ?= /tmp/fuzz-findings
fuzz: venv  ## damaged files for every reader: about 6 minutes
	$(BIN)/python -W ignore tests/fuzz/run.py --inputs $(INPUTS) --seed $(SEED) --found $(FOUND)

# a small study, one fault each time, and then the same command; needs root for faults of the disk
faults: TIMES ?= 5
faults: SWEEP ?= 1
faults: venv  ## fault drill: kills, full disks, damaged files, failing writes: about 2 hours
	PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONPATH=tests:tests/workflow $(BIN)/python tests/faults/drill.py --times $(TIMES) --sweep $(SWEEP)

LINTERS := lint-types lint-workflow lint-imports lint-snakefmt lint-ruff
.PHONY: $(LINTERS)
lint: $(LINTERS)  ## ruff, snakefmt, import-linter, mypy, snakemake --lint

lint-types: venv
	$(BIN)/mypy

lint-workflow: venv
	PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --lint

lint-imports: venv
	$(BIN)/lint-imports

lint-snakefmt: venv
	$(BIN)/snakefmt --check workflow rules

lint-ruff: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

docs: venv  ## the documentation as HTML, its notebooks run, warnings as errors: about 1 minute
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/python -m sphinx -W -b html docs docs/_build/html

clean:  ## remove results, the demo and built pages
	rm -rf results demo .snakemake docs/_build
