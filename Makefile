# make demo | test | lint | bench | clean. Everything is installed in .venv; PYTHON chooses another
# interpreter, WORKERS the number of test processes.

PYTHON ?= python3
WORKERS ?= 2

BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: demo test lint bench clean

demo: .venv/installed
	$(BIN)/python examples/digits.py

test: .venv/installed-dev
	$(BIN)/python -m pytest -n $(WORKERS)

lint: .venv/installed-dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy --strict neurlang

bench: .venv/installed
	$(BIN)/python -m neurlang bench

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The two stamps: what users need, and what developers need besides.

.venv/installed: pyproject.toml | $(BIN)/python
	$(PIP) install --editable .
	@touch $@

.venv/installed-dev: pyproject.toml | $(BIN)/python
	$(PIP) install --editable '.[dev]'
	@touch .venv/installed $@

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
	    echo "make: $(PYTHON) was not found: install Python 3.11 or later," \
	        "or name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "make: neurlang needs Python 3.11 or later, and $(PYTHON) is" \
	        "$$($(PYTHON) -V 2>&1); name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "make: $(PYTHON) cannot make virtual environments: install its venv package" \
	        "(on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }
