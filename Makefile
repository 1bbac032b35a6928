# Every target first makes .venv/ and installs what is missing, system packages included
# (tests/lab/packages.py: by apt as root or with sudo; elsewhere it lists what to install).

VENV := .venv
BIN := $(VENV)/bin
HOSTS ?= 2
# The newest python from 3.11 on that really starts: version managers leave stand-ins that do not.
PYTHON := $(shell for minor in 15 14 13 12 11; do \
	python3.$$minor -c "import sys; print(sys.executable)" 2>/dev/null && break; done)
# The lab is namespaces, mounts and control groups: root's work.
ROOT := $(if $(filter 0,$(shell id -u)),,sudo -E)

.PHONY: picture help demo demo-clean test quick e2e lint bench lab lab-down lock packages

help:
	@echo "make demo         boot a real guest on this machine and open the app on it"
	@echo "make demo-clean   remove all of the demo"
	@echo "make test         quick tests, then those with real hosts (root)"
	@echo "make lint         ruff, mypy, import contracts"
	@echo "make bench        benchmarks: a table, and bench/results.jsonl"
	@echo "make lab HOSTS=2  emulated hosts to try things on; make lab-down removes them"

demo: $(VENV)/installed
	$(ROOT) $(BIN)/python -m tests.lab.demo up

demo-clean: $(VENV)/installed
	$(ROOT) $(BIN)/python -m tests.lab.demo down

test: quick e2e

quick: $(VENV)/installed
	$(BIN)/pytest -q -n 2 -m "not e2e and not bench"

# Two files side by side: hosts mostly wait for their guests. Within a file tests share hosts, one after the other.
e2e: $(VENV)/installed
	$(ROOT) $(BIN)/pytest -q -n 2 --dist loadfile -m e2e

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/installed
	$(ROOT) $(BIN)/python -m tests.bench

lab: $(VENV)/installed
	$(ROOT) $(BIN)/python -m tests.lab up --hosts $(HOSTS)

lab-down: $(VENV)/installed
	$(ROOT) $(BIN)/python -m tests.lab down

packages:
ifeq ($(PYTHON),)
	@if [ -z "$(BOOTSTRAPPED)" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends python3 python3-venv; \
		exec $(MAKE) packages BOOTSTRAPPED=1; \
	else echo "Install python 3.11 or newer." >&2; exit 1; fi
else
	@$(PYTHON) tests/lab/packages.py
endif

# Order only: the packages are looked at each time, and are no reason to install Python's again.
$(VENV)/installed: requirements.lock pyproject.toml | packages
	@[ -x $(BIN)/pip ] || $(or $(PYTHON),python3) -m venv --clear $(VENV)
	$(BIN)/pip install -q --require-hashes -r requirements.lock
	$(BIN)/pip install -q --no-deps -e .
	@touch $@

picture: $(VENV)/installed
	$(BIN)/python -m tests.tui.picture

# After a change of the dependencies in pyproject.toml. The lock names no index: pip's own settings do.
lock: $(VENV)/installed
	$(BIN)/python -m venv $(VENV)/lock
	$(VENV)/lock/bin/pip install -q pip-tools
	$(VENV)/lock/bin/pip-compile -q --extra dev --generate-hashes --strip-extras --unsafe-package skydeck --no-header \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links -o requirements.lock pyproject.toml
	sed -i '/^# WARNING: The following packages were not pinned/,$$d' requirements.lock  # it means skydeck itself
