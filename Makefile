# Two commands are enough on a fresh machine: `make demo` and `make test` set everything up themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= demo-report

# Spinning threads cost five times the work they do on small machines; this must be set before Python starts.
export OMP_WAIT_POLICY ?= passive
export OPENBLAS_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false

# A failed pip must not be hidden by what counts its lines.
SHELL := bash
.SHELLFLAGS := -o pipefail -c

.DEFAULT_GOAL := help
.PHONY: help install package browser demo check test test-slow test-gpu coverage lint docs docs-links format bench bench-gpu tutorials notebooks results api support clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/installed  ## create .venv with the pinned versions of constraints.txt

# pip's own lines are hundreds, and its silence is minutes: what is counted here says that it goes on.
PIP = PYTHONUNBUFFERED=1 $(BIN)/pip install --disable-pip-version-check --progress-bar off -c constraints.txt -e '.[$(1)]' \
	| awk '/^ *Downloading/ { loaded++ } /^Collecting/ { found++; printf "\r%3d packages found, %3d downloaded", found, loaded } \
	/^Installing collected/ { printf "\ninstalling %d packages, which takes a minute and more without a word\n", found } \
	{ fflush() } END { print "" }'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("paramgraph needs Python >= 3.11; this is %s: make PYTHON=python3.11" % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

# What the demo needs is less than what the tests need, and comes with them.
$(VENV)/demo: pyproject.toml constraints.txt | $(BIN)/python
	@test $(VENV)/installed -nt pyproject.toml -a $(VENV)/installed -nt constraints.txt || { echo "setting up $(VENV) with what the demo needs"; $(call PIP,demo); }
	@touch $@

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "setting up $(VENV) with what tests need, 2 GB"
	@$(call PIP,test)
	@touch $@ $(VENV)/demo

demo: $(VENV)/demo  ## the main job: fine-tuning a real model with its parameter graph, as a table and a page in $(OUT)
	$(BIN)/spectral-opt demo --out $(OUT)

# The page of a comparison is tested in a browser. Where there is none and none can be installed, its tests are
# skipped by name (tests/allowed_skips.txt).
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || command -v chrome >/dev/null || \
	if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  echo "installing chromium, in which pages are tested"; \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; } >/dev/null 2>&1 \
	  || echo "chromium could not be installed: tests of pages will be skipped"; \
	else echo "no chromium or chrome here: tests of pages will be skipped"; fi

# A file's tests stay in one process: what they share is made once.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile --durations=30 --durations-min=3
# What a change is measured against: where it left origin/main, or the last commit.
BASE ?= $(shell git merge-base HEAD origin/main 2>/dev/null || echo HEAD)

check: lint  ## lint, types, import contracts, and the tests of the rooms that a change touches, under 2 minutes
	$(PYTEST) -q tests/architecture $$(cd tests && ../$(BIN)/python -m helpers.touched $(BASE))

test: install browser  ## every test not marked slow or gpu, under 15 minutes
	$(PYTEST)

coverage: install browser  ## which lines no test runs: a table, and htmlcov/index.html
	$(PYTEST) --cov --cov-report=term --cov-report=html

test-slow: install  ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

test-gpu: install  ## the tests that need an accelerator; says so where there is none
	@$(BIN)/python -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else "no accelerator here: nothing was tested, and nothing is claimed")'
	$(BIN)/python -m pytest -m gpu

package: install  ## build wheel and sdist in dist/, and try them in an empty environment outside of the repository
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m pytest -m slow tests/endtoend/test_packages.py

lint: install  ## format, lint, types, docstrings and import direction
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install  ## apply the formatter and the safe fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The shapes that tests check at every call would be part of what is timed. RECORD is made anew; with ONLY="filters steps" these alone
# are measured anew in it, with GO_ON=1 those that it lacks, as after an interruption, and with BRIEF=1 each once.
RECORD ?= build/benchmarks.json
$(VENV)/peers: pyproject.toml constraints.txt | $(VENV)/installed
	@echo "adding the peers of the benchmarks to $(VENV)"
	@$(call PIP,bench)
	@touch $@

bench: $(VENV)/peers  ## benchmarks beside their peers and floors, as one record and a table
	cd tests && JAXTYPING_DISABLE=1 ../$(BIN)/python -m benchmarks $(ONLY) --record $(abspath $(RECORD)) $(if $(GO_ON),--go-on) $(if $(BRIEF),--brief)
	$(BIN)/python tutorials/records/benchmark_results.py $(RECORD)

bench-gpu: install  ## steps and graphs on an accelerator, into build/accelerator.json; says so where there is none
	cd tests && JAXTYPING_DISABLE=1 ../$(BIN)/python -m benchmarks.accelerator --record $(abspath build/accelerator.json)

# Without the settings of the test suite: a notebook runs as its reader runs it. 180 s is the limit of one cell.
tutorials: install  ## run the notebooks in full, up to 5 minutes each
	$(BIN)/python -m pytest -o addopts= -o filterwarnings= --nbmake --nbmake-timeout=180 --durations=0 -v tutorials/*.ipynb

notebooks: install  ## make the notebooks again from their sources in tutorials/
	$(BIN)/python tutorials/build_notebooks.py

# Warnings are errors, except those of other hosts: without a connection their names stay text.
SPHINX := $(BIN)/python -m sphinx -q -W --keep-going -c tutorials/manual tutorials

docs: install  ## build the documentation site, build/site/index.html, and follow all links within it; runs no notebook
	rm -rf build/site tutorials/manual/reference
	$(SPHINX) build/site
	$(BIN)/python tutorials/check_site.py build/site

docs-links: install  ## ask whether the other hosts that the site links to answer (needs a connection)
	$(SPHINX) -b linkcheck build/links

results: install  ## write the tables of the README and the manual's page of results from the committed records, and their figures
	$(BIN)/python tutorials/records/write_results.py

api: install  ## freeze public names and signatures, and write the support page, after a deliberate change
	cd tests && ../$(BIN)/python -m helpers.freeze_public_api && ../$(BIN)/python -m helpers.write_support_table

support: install  ## try every model and training program again for the support page (20 minutes), then write it
	cd tests && ../$(BIN)/python -m helpers.support_trials && ../$(BIN)/python -m helpers.write_support_table

clean:  ## remove everything that the other targets made
	rm -rf $(VENV) $(OUT) build dist tutorials/manual/reference .pytest_cache .mypy_cache .ruff_cache htmlcov .coverage .import_linter_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
