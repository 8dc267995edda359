# Everything sets itself up in .venv; only Python 3.11 or newer, make and a package index are needed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Which releases of the dependencies: pinned (those in locks/, by their hashes), newest, or lowest (the
# oldest that setup.cfg allows). Give each a folder of its own: make test LOCK=lowest VENV=.venv-lowest
LOCK ?= pinned
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

ifeq ($(LOCK),pinned)
install = $(PIP) --require-hashes -r locks/$(1).txt && $(PIP) --no-build-isolation --no-deps -e .
else ifeq ($(LOCK),lowest)
install = $(PIP) -r locks/lowest.txt && $(PIP) --no-deps -e .
else ifeq ($(LOCK),newest)
install = $(PIP) --upgrade --upgrade-strategy eager -e ".[$(2)]"
else
$(error LOCK=$(LOCK): must be pinned, newest or lowest)
endif

.PHONY: finetune demo test test-fast lint style imports types counts audit locks wheel clean

# Fine-tunes the first three blocks of the shipped U-Net on simulated breast ultrasound, offline.
finetune: $(VENV)/installed-run
	$(BIN)/python scripts/finetune.py --layers shallow:3

# Opens the demo in the browser: http://127.0.0.1:7860
demo: $(VENV)/installed-demo
	$(BIN)/python demo/app.py

# Runs every test.
test: $(VENV)/installed-dev $(VENV)/chromium
	$(BIN)/python -m pytest -n 3 --dist loadfile

# Runs the tests that need neither a browser nor more than a second or so each.
test-fast: $(VENV)/installed-dev
	$(BIN)/python -m pytest -n 3 --dist loadfile -m "not browser and not slow"

# Everything that can be told without the tests.
lint: style imports types counts

style: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Rooms import only rooms below them: the contracts are in pyproject.toml.
imports: $(VENV)/installed-dev
	$(BIN)/lint-imports

types: $(VENV)/installed-dev
	$(BIN)/mypy

# Prints how many files, lines and modules there are, how long the longest are, and what is above its bar.
counts: $(VENV)/installed-dev
	$(BIN)/python tests/helpers/counts.py

# Asks the advisory databases about every pinned release.
audit: $(VENV)/installed-release
	$(BIN)/pip-audit --strict --require-hashes --disable-pip -r locks/dev.txt

# Pins today's releases, and the oldest that setup.cfg allows. With UPGRADE= what is pinned stays as it
# is, and only what setup.cfg asks for anew is added.
UPGRADE ?= --upgrade
locks: $(VENV)/installed-release
	bash locks/update.sh $(BIN)/uv $(UPGRADE)

# Builds the same bytes from the same sources, on any day.
wheel: $(VENV)/installed-dev
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m build --wheel --no-isolation

.PHONY: docs
# Builds the documentation with its API reference in build/docs; any warning is an error.
docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed-%: setup.cfg setup.py pyproject.toml $(wildcard locks/*.txt) | $(BIN)/python
	$(call install,$*,$*)
	touch $@

# PyTorch, whose companions differ by platform, is not among the pinned hashes.
$(VENV)/installed-dev: setup.cfg setup.py pyproject.toml $(wildcard locks/*.txt) | $(BIN)/python
	$(call install,dev,dev)
	$(PIP) -e ".[torch]"
	touch $@

$(VENV)/installed-release: | $(BIN)/python
	$(PIP) -e ".[release]"
	touch $@

# The tests of the demo drive a real browser.
$(VENV)/chromium: | $(BIN)/python
	command -v chromium || (apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium)
	touch $@

clean:
	rm -rf .venv .venv-* build dist *.egg-info

.PHONY: screenshots
# Takes the screenshots of the demo anew, of simulated images only.
screenshots: $(VENV)/installed-dev $(VENV)/chromium
	$(BIN)/python docs/draw_demo.py
