# `make` alone prints the targets. Variables, given on the command line:
#   ARGS         passed on:            make train ARGS="schedule=one_cycle optimizer=sgd"
#   PYTHON       an interpreter that already has the packages; then nothing is installed and .venv is not touched
#   BASE_PYTHON  the interpreter that .venv is made from (3.10 or newer)

VENV := .venv
BASE_PYTHON ?= python3 python3.13 python3.12 python3.11 python3.10
CONSTRAINTS := constraints.txt
ARGS ?=

# Only the command line counts: a PYTHON that happens to be in the environment would run without our packages.
ifeq ($(origin PYTHON),command line)
SETUP :=
else
override PYTHON := $(VENV)/bin/python
SETUP := setup
endif

.DEFAULT_GOAL := help
.PHONY: help setup train test test-oldest lint docs guarantees bench reproduce gpu gpu-check gpu-bench

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

setup: $(VENV)/.installed ## make .venv and install everything at the versions of constraints.txt

train: $(SETUP) ## train the default recipe: linear warmup, cosine decay (ARGS="schedule=one_cycle ...")
	$(PYTHON) train.py schedule=warmup_cosine $(ARGS)

test: $(SETUP) ## run the tests on two cores (ARGS="-k horizon")
	$(PYTHON) -m pytest -n 2 --dist worksteal $(ARGS)

# What pyproject.toml calls "name>=version" is installed at that version, and the rest at the newest that goes with it.
# That old libraries use what new ones have deprecated is not ours to mend.
test-oldest: ## run them with the lowest versions and the oldest Python that are admitted, in .venv-oldest (6 GB)
	@grep -oE '[a-z][a-z0-9_-]*(\[[a-z,]*\])?>=[0-9.]+' pyproject.toml | sed 's/\[.*\]//; s/>=/==/' | sort -u >.venv-oldest.txt
	@$(MAKE) test VENV=.venv-oldest CONSTRAINTS=.venv-oldest.txt BASE_PYTHON="python3.10 python3.11 python3.12 python3" \
	    ARGS="-W ignore::DeprecationWarning -W ignore::FutureWarning -W 'ignore:The epoch parameter in' $(ARGS)"

lint: $(SETUP) ## check style, format and types
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy

docs: $(SETUP) ## build the site of these pages and of the API, build/docs/index.html; a warning is an error
	$(PYTHON) -m sphinx --fail-on-warning --keep-going --jobs auto --conf-dir docs . build/docs $(ARGS)

guarantees: $(SETUP) ## measure what plain Lightning does, and write docs/guarantees.md (ARGS=--tests: only what is new)
	$(PYTHON) -m benchmarks.guarantees $(ARGS)

bench: $(SETUP) ## measure what scheduling and recording cost, beside other schedulers; 6 minutes
	$(PYTHON) -m benchmarks.bench $(ARGS)

reproduce: $(SETUP) ## measure the table of settings and schedules, 20 minutes (ARGS=long=true: its whole page, 2 hours; ARGS=quick=true)
	$(PYTHON) -m recipes.reproduction $(ARGS)

gpu: $(SETUP) ## check and measure on a GPU, 9 minutes; again: what is not done yet (PYTHON=python3: install nothing)
	$(PYTHON) -m benchmarks.gpu $(ARGS)

gpu-check: $(SETUP) ## of these: train, and compare used with planned
	$(PYTHON) -m benchmarks.gpu --only clock trainings recipes compiled $(ARGS)

gpu-bench: $(SETUP) ## of these: the reference models beside a plain loop
	$(PYTHON) -m benchmarks.gpu --only rates gpt-124m resnet-512 small-cnn gpt-10m attention resnet-1024 $(ARGS)

# The stamp is written last, so an interrupted install is repeated.
$(VENV)/.installed: pyproject.toml constraints.txt
	@base=; if ! $(VENV)/bin/python -m pip --version >/dev/null 2>&1; then \
	    for candidate in $(BASE_PYTHON); do \
	        if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then base=$$candidate; break; fi; \
	    done; \
	    if [ -z "$$base" ]; then \
	        echo "lr_recipes needs Python 3.10 or newer and none of these is one: $(BASE_PYTHON)." >&2; \
	        echo "Name an interpreter: make setup BASE_PYTHON=/path/to/python3.12" >&2; \
	        exit 1; \
	    fi; \
	    echo "Making $(VENV) with $$($$base --version) ..."; \
	    $$base -m venv --clear $(VENV) || exit 1; \
	fi
	@echo "Installing torch, lightning, hydra and the rest into $(VENV); this takes a minute or two, once ..."
	@$(VENV)/bin/python -m pip install -qq -e '.[recipes,dev]' -c $(CONSTRAINTS)
	@touch $@
	@echo "Ready: $(VENV)"
