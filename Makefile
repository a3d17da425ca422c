# Everything starts from Python 3.11+ and make; the rest is set up in .venv at first use.
PYTHON ?= python3
BIN := .venv/bin
# The suite starts hundreds of processes: what each would compile anew is kept, whatever the shell says.
unexport PYTHONDONTWRITEBYTECODE
# One more than there are cores: much of it waits, for pauses, time limits and processes.
WORKERS := $(shell expr 1 + `getconf _NPROCESSORS_ONLN`)
# So many long tests of each file, a case of each, and which.
SAMPLED = --sample $(or $(SAMPLE),8) --sample-seed "$(or $(SEED),1)"
# The parts of `make proof`: one after another here, each on a machine of its own at night.
PROOF := attacks faults kills hours others

.DEFAULT_GOAL := help
.PHONY: help demo run test lint types unit docs site long proof $(PROOF:%=proof-%) model soak twenty month page pictures engines recipes kills kills-syscalls fuzz mutants sabotage audit peers bench wheel image clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 8

.venv/made: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "barfeed needs Python 3.11 or newer: make PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@touch $@

# Each by itself, not one on another: whoever needs many extras installs once, and has what needs fewer.
.venv/installed .venv/installed-inference .venv/installed-dev .venv/installed-peers .venv/installed-bench .venv/installed-engines .venv/installed-recipes: .venv/made
	@echo "setting up .venv ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.$(EXTRAS)'
	@touch $@ $(WITH:%=.venv/%)

DEV := dev,docs,inference,alerts,market,metrics,socks,feather,postgres,s3,web
.venv/installed-inference: EXTRAS := [inference,market,web]
.venv/installed-inference: WITH := installed
.venv/installed-dev: EXTRAS := [$(DEV)]
.venv/installed-dev: WITH := installed installed-inference
.venv/installed-peers: EXTRAS := [$(DEV),peers]
.venv/installed-peers: WITH := installed installed-inference installed-dev
.venv/installed-bench: EXTRAS := [$(DEV),peers,bench]
.venv/installed-bench: WITH := installed installed-inference installed-dev installed-peers
.venv/installed-engines: EXTRAS := [$(DEV),engines]
.venv/installed-engines: WITH := installed installed-inference installed-dev
.venv/installed-recipes: EXTRAS := [$(DEV),recipes]
.venv/installed-recipes: WITH := installed installed-inference installed-dev

# Of one library among them another pandas is wanted than of the rest.
.venv/nautilus/installed: .venv/made
	@$(PYTHON) -m venv .venv/nautilus
	@.venv/nautilus/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,market,nautilus]'
	@touch $@

demo: .venv/installed-inference ## a few hours of the feed, a prediction and a market, against its own exchange: no network, some seconds (WEB=1: its page)
	@$(BIN)/python run/demo.py
ifeq ($(WEB),1)
	@$(BIN)/barfeed web --duckdb demo-data/market.duckdb --persist-dir demo-data/feed
endif

run: .venv/installed ## one hour against Binance; an empty store is started first (ARGS="--symbol ETHUSDT")
	@$(BIN)/python run/ohlcv_feed_binance.py --catch-up $(ARGS)

test: lint ## what proves the tree: lint, types, tests, docs checks (SAMPLE=2: and what `make long` does, in one run)
	@$(MAKE) --no-print-directory --jobs=2 types unit

# Security is ruff's S, which is bandit's own rules; see docs/proof.md.
lint: .venv/installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: .venv/installed-dev
	@$(BIN)/mypy

unit: .venv/installed-dev
	@$(BIN)/pytest -n $(WORKERS) --dist worksteal $(if $(SAMPLE),-m 'not proof and not peers' $(SAMPLED),-m 'not long and not proof and not peers')

docs: .venv/installed-dev ## write the generated pages anew, each from the script of its name, and the pictures
	@for page in docs/*.md docs/*.svg; do test ! -e "$${page%.*}.py" || $(BIN)/python "$${page%.*}.py" > "$$page"; done
	@$(BIN)/python -m benchmarks.plots

page: ## what `barfeed web` serves, bundled anew from web/; needs Node.js
	@cd web && npm ci --no-audit --no-fund --loglevel=error && npm run --silent check && npm run --silent build

pictures: .venv/installed-dev ## the pictures of docs/web.md, by a real browser
	@$(BIN)/python docs/web_pictures.py

site: .venv/installed-dev ## the documentation as a site, site/index.html; a link to nowhere fails (make test builds it too)
	@$(BIN)/python -m sphinx -W --keep-going -n -q -d build/site -b html docs site

long: .venv/installed-dev ## whole scenarios and CI's sample of each attack: some minutes (SAMPLE=0 for all, SEED=...)
	@$(BIN)/pytest -n $(WORKERS) --dist worksteal -m 'long and not proof' $(SAMPLED)

proof: ## every attack, whole, with the reports in docs/proof.md written anew: hours, nightly (PROOF=kills: a part of it)
	@for part in $(PROOF); do $(MAKE) proof-$$part || exit; done

proof-attacks: .venv/installed-dev
	@$(BIN)/pytest -n auto --dist worksteal -m 'long or proof'

proof-faults:
	@$(MAKE) sabotage
	@$(MAKE) mutants GROUP="decisions acceptance cycle"

proof-kills:
	@$(MAKE) kills kills-syscalls

proof-hours:
	@$(MAKE) soak twenty ARGS=--write
	@$(MAKE) twenty ARGS='--market --write'

proof-others:
	@$(MAKE) engines recipes

fuzz: .venv/installed-dev ## a hostile exchange for as long as you like (FUZZ=examples)
	@BARFEED_FUZZ_EXAMPLES=$(or $(FUZZ),20000) $(BIN)/pytest tests/proof/test_hostile_exchange.py -m 'not long and not proof'

mutants: .venv/installed-dev ## small changes to what decides, each of which a test must notice (GROUP=cycle: half an hour; SINCE=REV: what has changed)
	@$(BIN)/python tests/proof/mutants.py $(if $(SINCE),--since $(SINCE) $(GROUP),$(or $(GROUP),decisions acceptance))

sabotage: .venv/installed-dev ## each fault that was once found, put back: a test must see it (NAMES="...")
	@$(BIN)/python tests/proof/sabotage.py $(NAMES)

audit: .venv/installed-dev ## known weaknesses of what is installed; says so where there is no network
	@$(BIN)/python tests/proof/audit.py

peers: .venv/installed-peers ## the replay exchange under ccxt, python-binance and Binance's own SDK
	@$(BIN)/pytest -m peers tests/peers --ignore tests/peers/test_recipes.py

engines: .venv/installed-engines ## a lake under Spark (wants a JRE) and ClickHouse, too: they count what the others count
	@$(BIN)/pytest -m 'long or not long' tests/store/lake/test_engines.py

recipes: .venv/installed-recipes .venv/nautilus/installed ## docs/recipes.md, each with its library: minutes
	@$(BIN)/pytest -m peers tests/peers/test_recipes.py
	@.venv/nautilus/bin/pytest -m peers tests/peers/test_recipes.py -k nautilus

bench: .venv/installed-bench ## speed, as ratios against named rivals
	@$(BIN)/python -m benchmarks

model: .venv/installed-dev ## lives of the feed beside a model, until one breaks a promise (EXAMPLES=1000)
	@MODEL_EXAMPLES=$(or $(EXAMPLES),1000) $(BIN)/pytest -m proof tests/proof/test_model.py

soak: .venv/installed-dev ## eleven years of hours in bad weather: an hour or so (ARGS="--cycles 1000 --seed 2", --write)
	@PYTHONPATH=tests $(BIN)/python -m proof.soak $(ARGS)

twenty: .venv/installed-dev ## twenty feeds and two readers on one store for a day: some minutes (ARGS=--write)
	@PYTHONPATH=tests $(BIN)/python -m proof.twenty $(ARGS)

month: .venv/installed-dev ## a month of storms for a watch with everything on, under a real Prometheus: some minutes
	@$(BIN)/pytest -m 'long or proof' -s tests/proof/month

kills: .venv/installed-dev ## 500 SIGKILLs at random moments of every command, and 100 of those on a database; twenty minutes
	@$(BIN)/python tests/proof/kills.py --write
	@$(BIN)/python tests/proof/kills.py --database --kills 100 --write

kills-syscalls: .venv/installed-dev ## a kill, and every error, at each system call of the feed that touches the disk, some of a database's, and beside who holds the file; hours, needs strace
	@$(BIN)/python tests/proof/kills.py --syscalls kill --write
	@$(BIN)/python tests/proof/kills.py --syscalls fail --write
	@$(BIN)/python tests/proof/kills.py --database --syscalls kill --every 4 --write
	@$(BIN)/python tests/proof/kills.py --database --syscalls fail --every 12 --write
	@$(BIN)/python tests/proof/kills.py --held --syscalls kill --write
	@$(BIN)/python tests/proof/kills.py --held --syscalls fail --every 4 --write

wheel: .venv/installed-dev ## dist/: the wheel and the sdist
	@$(BIN)/python -m build

image: ## the container image, where an engine is at hand
	@docker build --tag barfeed .

clean: ## remove what make made
	rm -rf .venv demo-data build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis
