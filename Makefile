# One command each, on a fresh machine with Python 3.11 or newer: the set-up happens inside, once.
#   make demo            run the demo on a scene that ships with the repository
#   make demo SCENE=dir  run it on your own folder of posed photos
#   make test            lint and the full test suite
#   make lint            lint only
#   make bench           measure the shipped checkpoint on this machine
#   make format          rewrite the sources in the house style

PYTHON ?= $(firstword $(shell command -v python3.11 python3))
VENV ?= .venv
BIN := $(VENV)/bin
# Written at the end of a successful set-up, so that an interrupted one starts again.
READY := $(VENV)/.ready
# import-linter reads one folder tree, but the package is made of two; this is the tree that the wheel holds.
LAYOUT := build/layout
# Two test processes of one thread each: small tensors gain nothing from more threads.
PROCESSES ?= 2

.PHONY: demo test lint bench format
.DELETE_ON_ERROR:

demo: $(READY)
	$(BIN)/anyviews demo $(if $(SCENE),"$(SCENE)")

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile

lint: $(READY)
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --check --quiet
	rm -rf $(LAYOUT)
	$(BIN)/python setup.py --quiet build_py --build-lib $(LAYOUT)
	PYTHONPATH=$(LAYOUT) $(BIN)/lint-imports --no-logo --no-cache

bench: $(READY)
	$(BIN)/python utils/benchmark_mvgd.py

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

$(READY): setup.py constraints.txt
	@test -n "$(PYTHON)" || { \
		echo "Neither python3.11 nor python3 was found. Install Python 3.11 or newer, or name it:" >&2; \
		echo "    make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is $$("$(PYTHON)" --version 2>&1); anyviews needs Python 3.11 or newer. Name another:" >&2; \
		echo "    make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Installing anyviews and its dependencies into $(VENV); this is done once and takes some minutes."
	@test -x $(BIN)/pip || "$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $(READY)
