# Needs Python >= 3.11 and make, nothing else. `make` lists the targets.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/stamp
# What is never imported need not be compiled; it would be a third of the wait.
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-compile
PYTEST := $(BIN)/python -m pytest
COMPILE := uv pip compile pyproject.toml --universal --generate-hashes --no-emit-index-url --quiet \
	--custom-compile-command "make lock"

.DEFAULT_GOAL := help
.PHONY: help demo up test check lint types chaos lock bench openapi clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(STAMP) ## Start everything, run a real job of each family, show them finishing
	@$(BIN)/python -m embedded demo

up: $(STAMP) ## Start everything and keep it running until Ctrl-C
	@$(BIN)/python -m embedded up

test: $(STAMP) ## Run every test against real services, started for the occasion
	$(PYTEST) -n 2 --dist loadfile

check: lint types ## All that CI checks: style, types, imports, dependencies, tests with coverage
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(PYTEST) -n 2 --dist loadfile --cov --cov-branch

lint: $(STAMP) ## Check style and formatting
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP) ## Check types
	$(BIN)/mypy

chaos: $(STAMP) ## Kill everything for a quarter of an hour and count; CHAOS="--seed 2 --duration 600" are options
	$(BIN)/python -m tests.chaos $(CHAOS)

lock: ## Resolve the dependencies anew, with hashes and without index addresses
	$(COMPILE) --extra embedded --extra dev --output-file requirements-dev.lock
	$(COMPILE) --constraint requirements-dev.lock --output-file requirements.lock

bench: $(STAMP) ## Measure throughput and latency beside the usual ways to do it
	$(BIN)/python -m bench

openapi: $(STAMP) ## Write the API's description to the file that is committed
	$(BIN)/python -m api.openapi

clean: ## Remove .venv, the data of `make up`, caches and build products
	rm -rf .venv .mainstay .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf .coverage* htmlcov build dist *.egg-info

$(STAMP): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Mainstay needs Python 3.11 or later, and $(PYTHON) is not. Name another: make PYTHON=python3.12 ..."; \
		exit 1; }
	@echo "Installing the locked dependencies into .venv; this takes a minute, once."
	@$(PYTHON) -m venv .venv || { \
		echo "$(PYTHON) cannot make virtual environments: on Debian and Ubuntu, install the package python3-venv."; \
		exit 1; }
	@$(PIP) --quiet --require-hashes -r requirements-dev.lock
	@$(PIP) -qq --no-deps --no-build-isolation -e .
	@touch $@
