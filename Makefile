# `make demo` and `make test` need Python >= 3.10 and nothing else: they build .venv themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test chaos bench lint format clean

help:  ## say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Made anew when what is to be installed changes.
$(VENV)/.installed: setup.cfg pyproject.toml
	@echo "Installing into $(VENV) (the first time takes a minute) ..." >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "paystream needs Python 3.10 or newer; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[sandbox,test,lint]'
	@touch $@

demo: $(VENV)/.installed  ## watch a day of real orders go through a real Apache Kafka
	@$(BIN)/paystream demo

# Each process has a broker of its own. Who has nothing left takes over tests of the other.
test: $(VENV)/.installed  ## run all tests, on a real Apache Kafka
	@$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

chaos: $(VENV)/.installed  ## kill, freeze and starve workers and brokers for a quarter of an hour, bounds asserted
	@$(BIN)/python -m pytest tests/chaos -m "long or not long"

bench: $(VENV)/.installed  ## measure throughput and latency against the limit and against plain Faust
	@$(BIN)/python -m benchmarks

lint: $(VENV)/.installed  ## ruff and mypy --strict
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

format: $(VENV)/.installed  ## let ruff mend what it can
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

clean:  ## remove what these commands made here
	@rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
