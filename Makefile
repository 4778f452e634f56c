# Every target works on a bare clone. `make run` installs what running needs (requirements.lock);
# every other target the tools of development as well (requirements-dev.lock). Both share .venv,
# so whichever comes second only adds what is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNS := $(VENV)/.installed-to-run
STAMP := $(VENV)/.installed

.PHONY: install run test test-pythons lint format bench simulate chaos races abuse lanes lock clean
.DEFAULT_GOAL := install

install: $(STAMP)

$(STAMP): pyproject.toml requirements.lock requirements-dev.lock
	@$(PYTHON) tools/install.py $(VENV) requirements-dev.lock
	@touch $(RUNS) $(STAMP)

$(RUNS): pyproject.toml requirements.lock
	@$(PYTHON) tools/install.py $(VENV) requirements.lock
	@touch $(RUNS)

run: $(RUNS)
	@$(BIN)/actor-queue dev

# Three workers for two cores, because many tests wait for processes and for time to pass.
# Compiled modules are kept, whatever the environment says: the suite starts hundreds of processes.
test: export PYTHONDONTWRITEBYTECODE =
test: install lint
	$(BIN)/python -m pytest --numprocesses=3 --dist=loadfile --no-loadscope-reorder

# The suite on the oldest and the newest Python of this machine, and on the system's own.
test-pythons:
	@$(PYTHON) tools/pythons.py $(TESTS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/tidy.py

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The benchmarks and their report; QUICK=1 is a look at the most important ones in five minutes.
bench: install
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick)

# Replicas on virtual time with every fault; a seed that fails is printed and replays exactly.
SEEDS ?= 2000
START ?= 0
JOBS ?= 2
simulate: install
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) --start $(START) --jobs $(JOBS)

# Real processes under kill -9, freezes, partitions and Redis failures, for SECONDS.
SECONDS ?= 120
SEED ?= 1
chaos: install
	$(BIN)/python -m tests.chaos --seconds $(SECONDS) --seed $(SEED)

# As many times a receiver's "done, if nothing newer waits" against a message, at two replicas.
RACES ?= 10000
races: install
	$(BIN)/python -m tests.chaos --latest $(RACES) --seed $(SEED)

# CONNECTIONS slow peers of every kind, for SECONDS each, and what a normal client sees meanwhile.
CONNECTIONS ?= 5000
abuse: SECONDS = 60
abuse: install
	$(BIN)/python -m tests.abuse --seconds $(SECONDS) --connections $(CONNECTIONS)

# As many generated requests down both lanes of the door, whose answers must not differ.
REQUESTS ?= 100000
lanes: install
	$(BIN)/python -m tests.http.lanes --requests $(REQUESTS) --seed $(SEED)

# The lock files serve every supported Python: markers choose within them. The second has all that
# the first has, in the same versions.
lock:
	uv pip compile --universal --python-version 3.11 --extra embedded --no-header --quiet pyproject.toml --output-file requirements.lock
	uv pip compile --universal --python-version 3.11 --all-extras --group dev --constraint requirements.lock --no-header --quiet pyproject.toml --output-file requirements-dev.lock

clean:
	rm -rf $(VENV) .venvs .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
