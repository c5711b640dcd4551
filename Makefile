# Everything on a fresh machine with Python 3.11+ and make: `make demo`, `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test lint check torture docs bench lock clean

help:  ## what can be asked
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /make \1	/' | expand -t 14

$(VENV)/runtime: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Relais needs Python 3.11 or newer: make PYTHON=python3.12 demo")'
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --require-hashes -r requirements.lock
	$(INSTALL) --no-deps --no-build-isolation --config-settings editable_mode=compat -e .
	@touch $@

$(VENV)/dev: $(VENV)/runtime requirements-dev.lock
	$(INSTALL) --require-hashes -r requirements-dev.lock
	@touch $@

demo: $(VENV)/runtime  ## the gateway with its simulators and sample instances; Ctrl-C stops everything
	@$(BIN)/relais demo

test: lint check  ## everything CI runs

lint: $(VENV)/dev  ## format, style, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: $(VENV)/dev  ## the tests
	$(BIN)/pytest

torture: $(VENV)/dev  ## never lost, never twice: the long runs, about an hour and a half
	$(BIN)/python -m tests.torture.cost
	$(BIN)/python -m tests.torture.executions
	$(BIN)/python -m tests.torture.canaries
	$(BIN)/python -m tests.torture.crash_points
	$(BIN)/python -m tests.torture.lasting_points
	$(BIN)/python -m tests.torture.sync_order
	$(BIN)/python -m tests.torture.leaving
	$(BIN)/python -m tests.torture.stale
	$(BIN)/python -m tests.torture.store_down
	$(BIN)/python -m tests.torture.rolling
	$(BIN)/python -m tests.torture.nodes
	RELAIS_TORTURE_SEALED=10000 $(BIN)/pytest -q --timeout 0 tests/gateway/test_operate.py -k sealed_again
	$(BIN)/python -m tests.torture.payments
	$(BIN)/python -m tests.torture.kill_loop --keys 2000 --kills 40 --naive || true
	$(BIN)/python -m tests.torture.kill_loop
	$(BIN)/python -m tests.torture.kill_loop --postgresql --kills 60 --keys 3000
	RELAIS_MODEL_SEQUENCES=5000 $(BIN)/pytest -q --timeout 0 tests/gateway/test_delivery_model.py
	RELAIS_MODEL_SEQUENCES=500 $(BIN)/pytest -q --timeout 0 tests/gateway/test_lasting_model.py
	$(BIN)/python -m tests.torture.mutants

docs: $(VENV)/dev  ## write the generated reference again
	$(BIN)/python docs/generate.py

bench: $(VENV)/dev requirements-bench.lock  ## the comparison of benchmarks/, about a quarter of an hour
	$(INSTALL) --require-hashes -r requirements-bench.lock
	$(BIN)/python -m benchmarks.gateway
	$(BIN)/python -m benchmarks.soap
	$(BIN)/python -m benchmarks.tables
	$(BIN)/python -m benchmarks.start
	$(BIN)/python -m benchmarks.isolation

lock:  ## choose the newest versions again (needs uv)
	uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra build pyproject.toml -o requirements.lock
	uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra build --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock
	uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra build --extra dev --extra bench -c requirements-dev.lock pyproject.toml -o requirements-bench.lock

clean:  ## remove the environment and what the tools left
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
