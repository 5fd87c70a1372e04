# Everything a person or a CI job runs. `make` alone prints the list below; the list is made of the ## comments.
# Needs Python 3.11 or newer, make and bash; `setup` brings the rest into .venv/.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.ONESHELL:
MAKEFLAGS += --no-builtin-rules

VENV := .venv
BIN := $(VENV)/bin
# Newer than the lock and pyproject.toml: .venv has what they say.
STAMP := $(VENV)/.setup-done
# Another interpreter: make setup PYTHON=/usr/bin/python3.13
PYTHON ?=
# More for pytest: make unit PYTEST_ARGS="-k ordering -x"
PYTEST_ARGS ?=

.PHONY: help
help: ## Print this list
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(STAMP) ## Bring the locked tools and TrueUp itself into .venv/; at once when nothing changed

$(STAMP): requirements-dev.lock pyproject.toml
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then
		python=''
		for candidate in $(PYTHON) python3 python3.13 python3.12 python3.11; do
			if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
				python=$$candidate
				break
			fi
		done
		if [ -z "$$python" ]; then
			echo 'setup: Python 3.11 or newer is missing.' >&2
			echo "  found: $$(python3 --version 2>&1 || true); looked for: $(PYTHON) python3 python3.13 python3.12 python3.11" >&2
			echo '  cure: install one, or name it: make setup PYTHON=/path/to/python3.12' >&2
			exit 1
		fi
		echo "setup: creating $(VENV) with $$("$$python" --version)" >&2
		if ! "$$python" -m venv --clear $(VENV); then
			echo "setup: $$python cannot create a virtual environment." >&2
			echo '  cure: on Debian and Ubuntu install the package python3-venv of the same version' >&2
			exit 1
		fi
	fi
	echo 'setup: installing requirements-dev.lock' >&2
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	# no-build-isolation: hatchling comes from the lock too, by hash
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@
.PHONY: demo
demo: setup ## The whole pipeline on two live databases, with kills and a proof; KEEP=1 leaves it running, OBSERVE=1 adds Prometheus
	$(BIN)/trueup demo $(if $(KEEP),--keep) $(if $(OBSERVE),--observe)

# A package of Debian and Ubuntu, unpacked and not installed: nothing starts, nobody has to be root.
PROMETHEUS_HOME = $${TRUEUP_CACHE_DIR:-$$HOME/.cache/trueup}/prometheus
.PHONY: prometheus
prometheus: ## Bring Prometheus and promtool into the cache, where they are not installed; no root
	@home="$(PROMETHEUS_HOME)"
	if PATH="$$PATH:$$home/usr/bin" command -v promtool >/dev/null; then exit 0; fi
	if ! command -v apt-get >/dev/null; then
		echo 'prometheus: there is no apt-get here.' >&2
		echo '  cure: put prometheus and promtool on the PATH' >&2
		exit 1
	fi
	packages=$$(mktemp -d)
	trap 'rm -rf "$$packages"' EXIT
	cd "$$packages"
	apt-get download -qq -o APT::Sandbox::User="$$(id -un)" prometheus
	mkdir -p "$$home"
	dpkg-deb -x prometheus_*.deb "$$home"
	echo "prometheus: unpacked into $$home" >&2

.PHONY: stack-up
stack-up: setup ## Start the local stack: Kafka, Connect, registry, three Postgres servers
	$(BIN)/trueup stack up

.PHONY: stack-down
stack-down: setup ## Stop the local stack
	$(BIN)/trueup stack down

.PHONY: test
test: lint types ## What CI runs: lint, types, then all tests, those without servers first
	$(BIN)/pytest $(PYTEST_ARGS)

.PHONY: lint
lint: setup ## Code style, format and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

.PHONY: types
types: setup ## mypy, strict, over code and tests
	$(BIN)/mypy

.PHONY: unit
unit: setup ## Tests of one step or one rule each; no servers
	$(BIN)/pytest $(PYTEST_ARGS) tests/unit tests/rules

.PHONY: properties
properties: setup ## Tests of many generated inputs; no servers
	$(BIN)/pytest $(PYTEST_ARGS) $(wildcard tests/properties tests/simulation)

# SEED=123 replays one seed with its trace; FIRST=100000 takes others than the usual ones.
SEEDS ?= 2000
FIRST ?= 0
.PHONY: simulate
simulate: setup ## Crashes, zombies and lost state by the thousand, simulated; SEEDS=20000, or SEED=123 alone
	$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --first $(FIRST))

.PHONY: integration
integration: setup ## Tests on the real local stack
	$(BIN)/pytest $(PYTEST_ARGS) tests/integration

# How long the pipeline idles: make idle MINUTES=60
MINUTES ?= 10

.PHONY: idle
idle: setup ## Ten idle minutes: all stay ready and fresh, no alert; then a worker stands still, and there is one; MINUTES=10
	MINUTES=$(MINUTES) $(BIN)/pytest $(PYTEST_ARGS) -m soak --require-servers tests/soak/test_idle.py

.PHONY: replica-away
replica-away: setup ## One replica is stopped under 500 changes/s: the others keep their windows, it catches up; MINUTES=10
	MINUTES=$(MINUTES) $(BIN)/pytest $(PYTEST_ARGS) -m soak --require-servers tests/soak/test_replica_away.py

# How many snapshots are compared: make freshness READINGS=2000
READINGS ?= 10000

.PHONY: freshness
freshness: setup ## 10,000 snapshots of a copy under load with kills show what their watermark promises; READINGS=10000
	READINGS=$(READINGS) $(BIN)/pytest $(PYTEST_ARGS) -m soak --require-servers tests/soak/test_freshness.py

# A smaller run: make repair-million ROWS=100000
ROWS ?= 1000000

.PHONY: repair-million
repair-million: setup ## Three of a million rows damaged under load: found exactly, mended, proven; ROWS=1000000
	ROWS=$(ROWS) $(BIN)/pytest $(PYTEST_ARGS) -m soak --require-servers tests/soak/test_repair_million.py

.PHONY: wheel-check
wheel-check: setup ## The wheel alone, installed outside the checkout, does the main job in a new project folder
	$(BIN)/pytest $(PYTEST_ARGS) -m soak --require-servers tests/soak/test_wheel.py

# A fault stands for all its variants: F-10 is F-10-cut, F-10-silent and F-10-down.
.PHONY: long
long: setup ## Further cases on the real stack, which make test has no time for; half an hour
	$(BIN)/pytest $(PYTEST_ARGS) -m long --require-servers tests/integration

.PHONY: chaos
chaos: setup ## Every fault F-01 to F-26 on the loaded pipeline, an hour; FAULTS=F-01,F-06 ROUNDS=20 SEED=N
	$(BIN)/pytest -m chaos $(if $(SEED),--randomly-seed=$(SEED)) $(if $(FAULTS),--faults=$(FAULTS)) \
		$(if $(ROUNDS),--rounds=$(ROUNDS)) $(PYTEST_ARGS) tests/chaos

# A smaller run: make bench-drain BENCH_ARGS=--quick
BENCH_ARGS ?=

.PHONY: bench-drain
bench-drain: setup ## Drain of 200,000 captured changes beside a bare loop, memory, recovery; last line JSON
	@$(BIN)/python -m tests.benchmarks.drain $(BENCH_ARGS)

.PHONY: wheel
wheel: setup ## Build the wheel into dist/
	$(BIN)/python -m build --wheel --no-isolation

.PHONY: format
format: setup ## Rewrite code to the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# uv is needed for this target alone, so it stays out of the lock.
UV := build/lock-tools/bin/uv
UV_COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.PHONY: lock
lock: ## Rewrite the two lock files after a change of pins; UPGRADE=1 takes newer transitive versions
	test -x $(UV) || { python3 -m venv build/lock-tools && build/lock-tools/bin/pip install --quiet uv==0.13.9; }
	$(UV_COMPILE) $(if $(UPGRADE),--upgrade) -o requirements.lock pyproject.toml >/dev/null
	$(UV_COMPILE) $(if $(UPGRADE),--upgrade) -o requirements-dev.lock --group dev pyproject.toml >/dev/null

.PHONY: clean
clean: ## Remove build results and caches; .venv/ and the stack's var/ stay
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find streams tests -name __pycache__ -prune -exec rm -rf {} +
