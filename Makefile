# make test, make check, make demo: each makes .venv first when it is not there.
#   PYTHON=python3.12 make setup     another interpreter, 3.11 or newer

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
LOG := build/step.log

# $(call step,WHAT,COMMAND): one line with its seconds; the command's output only when it fails.
step = @mkdir -p build; printf '%-44s' '$(1)'; start=$$SECONDS; \
	if { $(2); } >$(LOG) 2>&1; then echo "$$((SECONDS - start)) s"; \
	else echo failed; cat $(LOG); exit 1; fi

# $(call install,PACKAGES): with uv, or with plain pip where uv is missing or fails.
install = $(BIN)/uv pip install --python $(BIN)/python $(1) || $(BIN)/python -m pip install $(1)

.PHONY: help setup build test check demo bench clean

help:
	@echo 'make setup   environment in $(VENV), the project in it, operators compiled'
	@echo 'make build   compile the operators anew'
	@echo 'make test    every test, with the reason of each skip'
	@echo 'make check   lint, format, types'
	@echo 'make demo    draw a data set, train, evaluate and show: minutes on a CPU'
	@echo 'make bench   time the operators; tables in benchmarks/results/'
	@echo 'make clean   remove what was built; keeps $(VENV), data and runs'

setup: $(INSTALLED)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo 'Python 3.11 or newer is needed. Type: make PYTHON=python3.11 setup' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo 'Python lacks venv. On Debian type: apt-get install python3-venv' >&2; exit 1; }
	$(call step,make $(VENV),$(PYTHON) -m venv $(VENV))

# torch comes first: the operators are compiled against the one that will run them.
$(INSTALLED): pyproject.toml setup.py $(wildcard csrc/* csrc/*/*) | $(BIN)/python
	$(call step,install uv,$(BIN)/python -m pip install uv || true)
	$(call step,install torch and setuptools,$(call install,'torch>=2.11' torchvision 'setuptools>=77'))
	$(call step,install the project and compile operators,$(call install,--no-build-isolation -e '.[dev]'))
	@touch $@

build: $(INSTALLED)
	$(call step,compile operators,$(call install,--no-build-isolation --no-deps --force-reinstall -e .))

test: $(INSTALLED)
	@$(BIN)/python -m pytest -q -n auto --dist loadfile

check: $(INSTALLED)
	$(call step,ruff check,$(BIN)/ruff check .)
	$(call step,ruff format,$(BIN)/ruff format --check .)
	$(call step,mypy,$(BIN)/mypy rfcn)

demo: $(INSTALLED)
	@$(BIN)/rfcn demo

bench: $(INSTALLED)
	@for file in benchmarks/bench_*.py; do echo "$$file"; $(BIN)/python "$$file"; done
	@$(BIN)/python benchmarks/tables.py

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis $(INSTALLED)
	find rfcn tests tools benchmarks -name __pycache__ -prune -exec rm -rf {} +
	find rfcn -name '*.so' -delete
