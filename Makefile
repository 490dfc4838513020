# Everything runs in .venv, which `make setup` builds from pyproject.toml and constraints.txt.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || echo python3)
BIN := .venv/bin
READY := .venv/.ready
DATA := data/ml-latest-small

.PHONY: help setup data run test check lint types imports pins bench clean

help: ## Show this list
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(READY) ## Make .venv with everything the other targets need

# Without the mark an environment may be half made, so it is made anew; with it, brought up to date.
$(READY): pyproject.toml constraints.txt
	@echo "Installing into .venv; the first time takes minutes."
	@if [ ! -e $@ ]; then $(PYTHON) -m venv --clear .venv; fi
	@rm -f $@
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# Does nothing where the folder is already what it would be.
data: $(READY)
	$(BIN)/fedrec prepare ml-latest-small --out $(DATA)

run: data ## Train and evaluate on the built-in data; replaces the last run in runs/default
	$(BIN)/fedrec run data=$(DATA) out=runs/default --force

test: $(READY) ## Run the tests that are neither slow nor need a GPU; ARGS="-m slow" for others
	$(BIN)/python -m pytest $(ARGS)

check: lint types imports pins ## Linter, formatter, type checker, import contracts, pinned versions

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

imports: $(READY)
	$(BIN)/lint-imports --no-cache

# What is pinned (-) against what is installed (+); torch for a GPU brings what torch pins itself.
pins: $(READY)
	$(BIN)/python -m pip check
	@diff -U0 --label constraints.txt --label .venv <(sed '/^#/d; /^$$/d' constraints.txt | sort) \
		<($(BIN)/python -m pip list --format=freeze --exclude-editable --exclude pip \
			| sed 's/+cpu$$//' | grep -vE '^(nvidia-|cuda-|triton)' | sort)

bench: data ## Run the benchmarks briefly, to see that they work; for numbers see benchmarks/README.md
	$(BIN)/python benchmarks/main_job.py default data=$(DATA) --quick

clean: ## Remove .venv and every cache; data/ and runs/ stay
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
