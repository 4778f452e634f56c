# Every target works on a bare clone: it first makes .venv from the lock file.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install run test lint format bench simulate chaos lock clean
.DEFAULT_GOAL := install

install: $(STAMP)

$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 15) else "actor-queue needs Python 3.11 to 3.14, this is " + sys.version.split()[0] + "; name another with make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $(STAMP)

run: install
	$(BIN)/actor-queue dev

test: install lint
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/tidy.py

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install
	$(BIN)/python -m benchmarks

# Replicas on virtual time with every fault; a seed that fails is printed and replays exactly.
SEEDS ?= 2000
simulate: install
	$(BIN)/python -m tests.simulation --seeds $(SEEDS)

# Real processes under kill -9, freezes, partitions and Redis failures, for SECONDS.
SECONDS ?= 120
SEED ?= 1
chaos: install
	$(BIN)/python -m tests.chaos --seconds $(SECONDS) --seed $(SEED)

# The lock file serves every supported Python: markers choose within it.
lock:
	uv pip compile --universal --python-version 3.11 --all-extras --group dev --no-header --quiet pyproject.toml --output-file requirements.lock

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
