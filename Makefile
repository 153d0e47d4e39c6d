# Every target sets up .venv from the lock files by itself. All it needs is Python 3.11 or newer.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_SECONDS ?= 60
FAULT_SEEDS ?= 1,2,3
FAULT_JOBS ?= 2

RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# The locks hold for every supported Python and name no registry: pip uses the one that it is set up for.
COMPILE := $(BIN)/uv pip compile pyproject.toml --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock"

# Two processes for the tests that wait for nothing but the processor; one for those that watch a clock (decision 0061).
TESTS := $(if $(PYTEST_ARGS),$(BIN)/python -m pytest $(PYTEST_ARGS),$(BIN)/python -m pytest --numprocesses 2 \
    --dist loadfile tests/unit tests/slow tests/laws tests/contract && $(BIN)/python -m pytest tests/integration tests/faults tests/browser)

.DEFAULT_GOAL := help
.PHONY: help demo test check bench faults identity tracker train report format lock clean

help:  ## list these targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

demo: $(RUNTIME)  ## a shop to walk through, a worker, a live view in this terminal; needs no server (DEMO_SECONDS=60)
	@$(BIN)/clickstage demo $(if $(filter-out 0,$(DEMO_SECONDS)),--seconds $(DEMO_SECONDS)) $(DEMO_ARGS)

test: $(DEV)  ## run the tests, on real Kafka, Redis and Valkey where this machine has them (PYTEST_ARGS="tests/laws")
	@$(TESTS)

check: $(DEV)  ## check format, lint, types and layers, then run the tests and the doctests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(TESTS)
	$(BIN)/python -m pytest --doctest-modules featurestore models decisions worker edge

bench: $(DEV)  ## run the benchmarks (BENCH_ARGS="--list" names them)
	@$(BIN)/python -m bench $(BENCH_ARGS)

faults: $(DEV)  ## inject every fault, the central ones at three seeds (FAULT_SEEDS=4,5,6); writes out/faults.json
	@CLICKSTAGE_FAULT_SEEDS=$(FAULT_SEEDS) $(BIN)/python -m tests.faults --jobs $(FAULT_JOBS) $(PYTEST_ARGS)
	@$(BIN)/python -m pytest -m nightly tests/unit tests/slow tests/integration tests/browser
	@CLICKSTAGE_EXAMPLES=10 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m hypothesis tests/unit tests/laws

identity: $(DEV)  ## run one log through an earlier revision and this tree, compare the bytes (IDENTITY_ARGS="--base main")
	@$(BIN)/python -m tests.identity $(IDENTITY_ARGS)

tracker:  ## build the browser's tracker in edge/tracker/dist; needs Node 20
	@npm ci --prefix edge/tracker --silent --no-audit --no-fund
	@npm run build --prefix edge/tracker --silent

train: $(DEV)  ## simulate, train and write a bundle (TRAIN_ARGS="--seed 7")
	@$(BIN)/clickstage train $(TRAIN_ARGS)

report: $(DEV)  ## write the evaluation report of the newest bundle to out/report/
	@$(BIN)/clickstage evaluate $(REPORT_ARGS)

format: $(DEV)  ## format the code and apply the safe fixes
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format --quiet .

lock: $(DEV)  ## pin the newest versions that fit pyproject.toml, with their hashes
	@$(PIP_INSTALL) uv
	$(COMPILE) --extra dev --output-file requirements/dev.lock
	$(COMPILE) --extra build --constraint requirements/dev.lock --output-file requirements/runtime.lock

clean:  ## remove .venv, the caches and everything that commands write
	rm -rf $(VENV) .cache build dist out .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	    { echo "Clickstage needs Python 3.11 or newer; '$(PYTHON)' is not. Try: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@echo "Setting up $(VENV), once (a minute or so) ..."
	@$(PYTHON) -m venv $(VENV) || \
	    { rm -rf $(VENV); echo "'$(PYTHON) -m venv' failed; on Debian: apt-get install python3-venv" >&2; exit 1; }

$(RUNTIME): $(BIN)/python requirements/runtime.lock pyproject.toml
	@$(PIP_INSTALL) --require-hashes --requirement requirements/runtime.lock
	@$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): $(RUNTIME) requirements/dev.lock
	@$(PIP_INSTALL) --require-hashes --requirement requirements/dev.lock
	@touch $@
