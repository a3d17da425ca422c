# Everything starts from Python 3.11+ and make; the rest is set up in .venv at first use.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo run test lint types unit docs long peers bench model soak twenty clean

help: ## this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 8

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "barfeed needs Python 3.11 or newer: make PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -m venv .venv
	@echo "setting up .venv ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/installed-dev: .venv/installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,inference]'
	@touch $@

.venv/installed-peers: .venv/installed-dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,inference,peers,bench]'
	@touch $@

.venv/installed-inference: .venv/installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[inference]'
	@touch $@

demo: .venv/installed-inference ## a few hours of the feed and a prediction, against its own exchange: no network, some seconds
	@$(BIN)/python run/demo.py

run: .venv/installed ## one hour against Binance; an empty store is started first (ARGS="--symbol ETHUSDT")
	@$(BIN)/python run/ohlcv_feed_binance.py --catch-up $(ARGS)

test: lint types unit ## what proves the tree: lint, types, tests, docs checks

lint: .venv/installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: .venv/installed-dev
	@$(BIN)/mypy

unit: .venv/installed-dev
	@$(BIN)/pytest -m 'not long and not peers'

docs: .venv/installed-dev ## write docs/cli.md anew from the command's own help
	@$(BIN)/python docs/cli.py > docs/cli.md

long: .venv/installed-dev ## the year of hours, cold processes, kill loop
	@$(BIN)/pytest -m long

peers: .venv/installed-peers ## the replay exchange under ccxt, python-binance and Binance's own SDK
	@$(BIN)/pytest -m peers

bench: .venv/installed-peers ## speed, as ratios against named rivals
	@$(BIN)/python -m benchmarks

model: .venv/installed-dev ## lives of the feed beside a model, until one breaks a promise (EXAMPLES=1000)
	@MODEL_EXAMPLES=$(or $(EXAMPLES),1000) $(BIN)/pytest -m long tests/proof/test_model.py

soak: .venv/installed-dev ## eleven years of hours in bad weather: an hour or so (ARGS="--cycles 1000 --seed 2", --write)
	@PYTHONPATH=tests $(BIN)/python -m proof.soak $(ARGS)

twenty: .venv/installed-dev ## twenty feeds and two readers on one store for a day: some minutes (ARGS=--write)
	@PYTHONPATH=tests $(BIN)/python -m proof.twenty $(ARGS)

clean: ## remove what make made
	rm -rf .venv demo-data build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
