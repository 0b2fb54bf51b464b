# Every target sets the project up by itself on first use; `make setup` alone does only that.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup demo up test check format chaos bench bench-quick clean

setup: $(READY)

# torch first and pinned: a later package must not bring another build with it.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt -e '.[models,train,dev]'
	touch $@

demo: $(READY)
	$(BIN)/kingpost demo

up: $(READY)
	$(BIN)/kingpost up

test: $(READY)
	$(BIN)/pytest

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

chaos: $(READY)
	$(BIN)/python -m tests.chaos
	$(BIN)/pytest tests/chaos -m chaos
	$(BIN)/pytest tests/unit/test_store_machine.py --hypothesis-profile=long

# The servers that we are compared with, each in an environment of its own; one that does not install is left out.
COMPETITORS := .bench/.ready
$(COMPETITORS): $(READY) bench/competitors/install.py $(wildcard bench/competitors/*.txt)
	$(BIN)/pip install -q -c constraints.txt -e '.[bench]'
	-$(BIN)/python -m bench.competitors.install
	mkdir -p .bench && touch $@

bench: $(COMPETITORS)
	$(BIN)/python -m bench

bench-quick: $(COMPETITORS)
	$(BIN)/python -m bench --quick

clean:
	rm -rf .venv .bench .kingpost build *.egg-info
