# Everything runs in a virtual environment that these targets make by themselves.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo test check fmt protos clean

setup: $(READY)

# torch: PyPI's build for Linux brings CUDA (several GB). For the CPU build set
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
$(READY): pyproject.toml deploy/constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mpcvit needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint deploy/constraints.txt --editable '.[bench,dev]'
	touch $@

demo: $(READY) ## one picture, two parties, a dealer, all on this machine
	$(BIN)/mpcvit demo

test: check ## everything
	$(BIN)/python -m pytest tests/services tests/e2e

check: $(READY) ## format, lint, types, import rules, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/unit tests/conformance

fmt: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

protos: $(READY) ## regenerate mpcvit/wire/v1
	$(BIN)/python protos/generate.py

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
