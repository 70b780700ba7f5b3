# Each target does all its own set-up. PYTHON may name another interpreter (3.11 to 3.13).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CORES ?= all
export PYTHONDONTWRITEBYTECODE :=

# tests of one file share fixtures and stay together; slow tests are distributed one by one, the longest first
WORKERS := 2
PYTEST = PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n $(WORKERS) --no-loadscope-reorder $(PYTEST_ARGS)

.PHONY: venv demo test test-study slow fuzz lint docs clean

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[workflow,dev]'
	@# what pip does on one core; templates of other packages that are no Python are passed over
	$(BIN)/python -m compileall -q -j 0 $(VENV)/lib > /dev/null 2>&1 || true
	touch $@

demo: venv
	PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --cores $(CORES)
	@echo "open results/report/index.html"

test: venv
	$(PYTEST) -m unit --dist loadfile

test-study: venv
	$(PYTEST) -m "study and not slow" --dist loadfile

# one more, because some of these tests mostly wait for Slurm
slow: WORKERS := 3
slow: venv
	$(PYTEST) -m slow --dist loadscope

# damaged files for every reader; what is found is written to FOUND
fuzz: INPUTS ?= 20000
fuzz: SEED ?= 0
fuzz: FOUND ?= /tmp/fuzz-findings
fuzz: venv
	$(BIN)/python -W ignore tests/fuzz/run.py --inputs $(INPUTS) --seed $(SEED) --found $(FOUND)

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check workflow rules
	$(BIN)/lint-imports
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --lint

docs: venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/python -m sphinx -W -b html docs docs/_build/html

clean:
	rm -rf results demo .snakemake docs/_build
