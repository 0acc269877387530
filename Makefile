# Every target works on a fresh machine with Python 3.10+ and make: it makes .venv and installs what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OUT ?= demo_output
JOBS ?= 2
# One thread a process: numba, left to itself, gives torch all cores again, and processes that share them wait in turns.
THREADS = OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1
PYTEST = $(if $(filter 1,$(JOBS)),,$(THREADS)) $(BIN)/python -m pytest $(if $(filter 1,$(JOBS)),,--numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder)
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable

.PHONY: help install demo test lint types docs bench clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(STAMP)  ## make .venv with the versions that the tests run on

$(STAMP): setup.cfg constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) '.[test]'
	touch $@

demo: $(STAMP)  ## sample CT -> pairs -> VQ-GAN -> latent diffusion -> bones suppressed, into OUT (demo_output)
	$(BIN)/radiolucent demo --out $(OUT)

test: $(STAMP)  ## run the tests in two processes, or in JOBS=1; lists the slowest 20
	$(PYTEST) --durations 20

lint: $(STAMP)  ## check style and formatting with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## check types with mypy
	$(BIN)/mypy radiolucent lightning_modules evaluation vqgan diffusion drr radiographs

$(VENV)/.docs: $(STAMP)
	$(INSTALL) '.[test,docs]'
	touch $@

docs: $(VENV)/.docs  ## build the documentation into site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(STAMP)  ## time ray casting against its peers
	$(INSTALL) '.[test,bench]'
	$(BIN)/python -m benchmarks.drr

clean:  ## remove .venv and everything that was built
	rm -rf $(VENV) demo_output build site *.egg-info
