# Every target makes its own .venv from the hash-locked requirements; nothing else needs to be installed.
# PYTHON names the interpreter (3.11 or newer) that .venv is made with.

PYTHON ?= python3
BIN := .venv/bin

# Processes start three times as fast with compiled modules, wherever the shell says otherwise.
export PYTHONDONTWRITEBYTECODE :=
PIP_OPTIONS := --quiet --disable-pip-version-check --no-input --require-hashes
LOCKED := $(shell cat requirements/*.txt pyproject.toml | cksum | cut -d ' ' -f 1)
RUNTIME := .venv/.runtime-$(LOCKED)
DEVELOPMENT := .venv/.development-$(LOCKED)
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

# $(call install,REQUIREMENTS): uv is fast; pip also knows the machine's own package mirror.
install = $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r $(1) \
	|| $(BIN)/python -m pip install $(PIP_OPTIONS) -r $(1)

# Ray is large, and its tests have an environment of their own (RAY_PYTHON).
EXTRAS := $(addprefix --extra ,sklearn xgboost lightgbm onnx pandas tracing postgres)

.DEFAULT_GOAL := help
.PHONY: help demo test check check-format check-lint check-types check-layers check-house format lock clean

help: ## Say what can be made
	@sed -n 's/^\([a-z]*\):.*## /\1@/p' Makefile | awk -F @ '{ printf "  make %-8s %s\n", $$1, $$2 }'

demo: $(RUNTIME) ## Run the whole loop on real data: DEMO="--keep" leaves the platform running
	@$(BIN)/headrace demo $(DEMO)

test: $(DEVELOPMENT) ## Run the tests, a process for each core; TESTS="tests/kernel -k jobs" runs some of them in one
	@$(BIN)/pytest $(or $(TESTS),-n auto --dist loadfile)

check: check-format check-lint check-types check-layers check-house ## Check format, lint, types, layers and house rules

check-format: $(DEVELOPMENT)
	@$(BIN)/ruff format --check --quiet .

check-lint: $(DEVELOPMENT)
	@$(BIN)/ruff check --quiet .

check-types: $(DEVELOPMENT)
	@$(BIN)/mypy

check-layers: $(DEVELOPMENT)
	@$(BIN)/lint-imports --no-logo

check-house: $(DEVELOPMENT)
	@$(BIN)/pytest --quiet tests/house

format: $(DEVELOPMENT) ## Format the code and repair what lint can repair
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format .

lock: $(DEVELOPMENT) ## Resolve the newest allowed packages and write requirements/*.txt
	$(LOCK) --upgrade requirements/bootstrap.in --output-file requirements/bootstrap.txt
	$(LOCK) --upgrade --fork-strategy fewest pyproject.toml --extra sklearn --extra onnx --group pyproject.toml:build \
		--output-file requirements/runtime.txt
	$(LOCK) --upgrade --fork-strategy fewest pyproject.toml $(EXTRAS) --constraints requirements/runtime.txt \
		--group pyproject.toml:build --group pyproject.toml:test --group pyproject.toml:check \
		--output-file requirements/development.txt
	$(LOCK) --upgrade --fork-strategy fewest requirements/peers/mlflow.in --output-file requirements/peers/mlflow.txt
	$(LOCK) --upgrade --fork-strategy fewest requirements/peers/mlflow-2.9.in \
		--output-file requirements/peers/mlflow-2.9.txt
	$(LOCK) --upgrade --fork-strategy fewest requirements/peers/openinference.in \
		--output-file requirements/peers/openinference.txt
	$(LOCK) --upgrade --fork-strategy fewest requirements/peers/serving.in --output-file requirements/peers/serving.txt

clean: ## Remove the environments and the caches
	rm -rf .venv .peers .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Headrace needs Python 3.11 or newer; say which one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Making .venv"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install $(PIP_OPTIONS) -r requirements/bootstrap.txt

$(RUNTIME): | $(BIN)/uv
	@echo "Installing requirements/runtime.txt"
	@$(call install,requirements/runtime.txt)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(DEVELOPMENT): | $(BIN)/uv
	@echo "Installing requirements/development.txt"
	@$(call install,requirements/development.txt)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(RUNTIME) $@
