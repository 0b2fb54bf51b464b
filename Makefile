# Every target sets the project up by itself on first use; `make setup` alone does only that.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DEV := .venv/.dev-ready

.PHONY: setup demo up test test-stacks test-all shipped browser check format docs reference screenshots attack chaos conformance bench bench-quick clean

# uv and pip leave compiling to the first import; with this variable every process would compile everything again.
unexport PYTHONDONTWRITEBYTECODE

setup: $(DEV)

# uv resolves and unpacks in seconds what takes pip minutes, but it does not read pip's configuration: pip brings torch, which
# may be a wheel that only pip knows of, and everything if uv finds no index. torch is pinned, and nothing replaces it.
PIP := $(BIN)/pip install -q --no-compile -c constraints.txt
define INSTALL
	@index="$${UV_DEFAULT_INDEX:-$${UV_INDEX_URL:-$${PIP_INDEX_URL:-$$($(BIN)/pip config get global.index-url 2>/dev/null)}}}"; \
	$${index:+env UV_DEFAULT_INDEX="$$index"} $(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt -e '.[$(EXTRAS)]' \
	|| { echo "uv did not install it; pip does, which takes some minutes."; $(PIP) -e '.[$(EXTRAS)]'; }
endef

$(READY): EXTRAS := models
$(READY): pyproject.toml constraints.txt
	@echo "Installing into .venv; the first time takes a minute or two."
	@$(PYTHON) -m venv .venv
	@$(PIP) --no-deps torch
	@$(PIP) uv || true
	$(INSTALL)
	@touch $@

# What only tests, checks and training need; a demo does not wait for it.
$(DEV): EXTRAS := models,chat,speech,train,dev
$(DEV): $(READY)
	$(INSTALL)
	@touch $@

demo: $(READY)
	$(BIN)/kingpost demo

up: $(READY)
	$(BIN)/kingpost up

# Three processes: most of a test's time is waiting for others. tests/run.py says what runs a second time.
test: $(DEV)
	$(BIN)/python -m tests.run

# The tests that start stacks, replicas or nodes of their own: nobody waits for them at every change, but .ci/run does.
test-stacks: $(DEV)
	$(BIN)/python -m tests.run --stacks

# Both, and the slow ones but those of `make shipped`.
test-all: $(DEV)
	$(BIN)/python -m tests.run --slow

# Every test of the console in Chromium, narrow and dark ones too, which `make test` leaves out.
browser: $(DEV)
	$(BIN)/pytest -m 'slow or not slow' $(wildcard tests/contract/api/test_console*_in_browser.py)

# What users get, installed for real in other folders: the wheel, and what the Dockerfile makes.
shipped: $(DEV)
	$(BIN)/pytest -m slow tests/shipped

check: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python -m tests.collectable

format: $(DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The site, in build/site. It fails at a broken link or anchor, and asks no other host for anything.
docs: $(DEV)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# The pages of the reference that the code writes.
reference: $(DEV)
	$(BIN)/python -m tests.reference

# Every page of the console, in both themes, wide and narrow: build/screenshots.
screenshots: $(DEV)
	$(BIN)/python -m tests.screenshots

# What strangers may try, at full size, with a table of what was measured.
attack: $(DEV)
	$(BIN)/python -m tests.attack

chaos: $(DEV)
	$(BIN)/python -m tests.chaos
	$(BIN)/pytest tests -m chaos
	$(BIN)/pytest tests/unit/tasks/test_store_machine.py --hypothesis-profile=long

# The same tests on our model host and on Truss's own server, which gets a virtualenv of its own.
conformance: $(DEV)
	$(BIN)/python -m tests.conformance.truss_virtualenv
	$(BIN)/pytest -q tests/contract/host --server kingpost
	$(BIN)/pytest -q tests/contract/host --server truss

# The servers that we are compared with, each in a virtualenv of its own; one that does not install is left out.
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
