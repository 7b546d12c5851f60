# Everything that is needed is installed into .venv by the targets themselves; only Python 3.11+ has to be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKERS ?= $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')
# buf, and the plugin that it starts, come from the environment.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Tests start hundreds of commands; without bytecode each would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo demo-zatca test test-matrix check gen gen-check bench clean

demo: $(READY)
	@$(BIN)/python examples/demo.py

demo-zatca: $(READY)
	@$(BIN)/python examples/zatca/demo.py

# One worker more than there are cores, as tests also wait.
test: $(READY) build/protos
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

# Both ends of the ranges of the dependencies, in environments of their own. Installs from the package index.
test-matrix: $(READY)
	$(BIN)/python tests/matrix.py

check: $(READY) gen-check
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/basedpyright
	$(BIN)/python -m invora_grpc.codegen fingerprint
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code --exclude-path build/googleapis/google
	$(BIN)/python -m pytest tests/test_docs.py

gen: $(READY)
	$(BIN)/invora gen

gen-check: $(READY)
	$(BIN)/invora gen --check

bench: $(READY)
	$(BIN)/python bench

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	@touch $@

# protobuf's own test schemas come with the sources of grpcio-tools.
build/protos: | $(READY)
	$(BIN)/pip download --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-binary :all: --dest $@ grpcio-tools==1.85.1
