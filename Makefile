# Every target sets the project up by itself on first use; `make setup` alone does only that.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DEV := .venv/.dev-ready

.PHONY: setup demo up test test-all check format chaos conformance bench bench-quick clean

setup: $(DEV)

# torch first and pinned: a later package must not bring another build with it.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt -e '.[models]'
	touch $@

# What only tests, checks and training need; a demo does not wait for it.
$(DEV): $(READY)
	$(BIN)/pip install -q -c constraints.txt -e '.[models,train,dev]'
	touch $@

demo: $(READY)
	$(BIN)/kingpost demo

up: $(READY)
	$(BIN)/kingpost up

# Three processes: most of a test's time is waiting for others. tests/run.py says what runs a second time.
test: $(DEV)
	$(BIN)/python -m tests.run

# With the slow ones.
test-all: $(DEV)
	$(BIN)/python -m tests.run --slow

check: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

chaos: $(DEV)
	$(BIN)/python -m tests.chaos
	$(BIN)/pytest tests -m chaos
	$(BIN)/pytest tests/unit/test_store_machine.py --hypothesis-profile=long

# The same tests on our model host and on Truss's own server, which gets a virtual environment of its own.
conformance: $(DEV)
	$(BIN)/python -m tests.conformance.environment
	$(BIN)/pytest -q tests/contract/host --server kingpost
	$(BIN)/pytest -q tests/contract/host --server truss

# The servers that we are compared with, each in an environment of its own; one that does not install is left out.
COMPETITORS := .bench/.ready
$(COMPETITORS): $(DEV) bench/competitors/install.py $(wildcard bench/competitors/*.txt)
	$(BIN)/pip install -q -c constraints.txt -e '.[bench]'
	-$(BIN)/python -m bench.competitors.install
	mkdir -p .bench && touch $@

bench: $(COMPETITORS)
	$(BIN)/python -m bench

bench-quick: $(COMPETITORS)
	$(BIN)/python -m bench --quick

clean:
	rm -rf .conformance .venv .bench .kingpost build *.egg-info
