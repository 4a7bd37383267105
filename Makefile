# Everything runs in a virtual environment that these targets make by themselves.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Tests are shared out among processes, each with one thread; a process takes about 1 GB.
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: setup demo test test-faults check coverage fmt docs schemas protos protos-check clean

setup: $(READY)

# torch: PyPI's build for Linux brings CUDA (several GB). For the CPU build set
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
$(READY): pyproject.toml deploy/constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mpcvit needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint deploy/constraints.txt --editable '.[bench,dev,docs]'
	touch $@

demo: $(READY) ## one picture, two parties, a dealer, all on this machine
	$(BIN)/mpcvit demo

test: check docs ## everything, and the site; services one after the other, as they have deadlines
	$(PYTEST) --numprocesses $(WORKERS) --dist worksteal -m slow --ignore tests/services --ignore tests/faults
	$(PYTEST) -m "not long" tests/services tests/faults

test-faults: $(READY) ## every fault of docs/reliability.md, put into running parties, and the page's table; an hour
	rm -rf build/faults
	$(PYTEST) --timeout 1800 tests/faults; code=$$?; $(BIN)/python -m tests.support.reliability; exit $$code

check: $(READY) ## format, lint, types, import rules, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) --numprocesses $(WORKERS) --dist worksteal -m "not slow"

coverage: $(READY) ## lines and branches that tests run, processes that they start included; pages in build/coverage
	$(PYTEST) --numprocesses $(WORKERS) --dist worksteal --cov --cov-report term:skip-covered --cov-report html

fmt: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(READY) ## the documentation site, in build/docs; a warning is an error
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs build/docs

schemas: $(READY) ## JSON schemas of the configuration files, in docs/schemas
	for role in party dealer client tenants admin; do $(BIN)/mpcvit config schema $$role > docs/schemas/$$role.json; done

protos: $(READY) ## regenerate the stubs of protos/
	$(BIN)/python protos/generate.py

protos-check: $(READY) ## their rules, and that they only add to the last release; tests in `make check` run it too
	$(BIN)/python protos/check.py

clean:
	rm -rf $(VENV) .coverage build/coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis
