# Everything sets itself up in .venv; only Python 3.11 or newer, make and a package index are needed.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: finetune demo test lint clean

# Fine-tunes the first three blocks of the shipped U-Net on simulated breast ultrasound, offline.
finetune: .venv/installed
	$(BIN)/python scripts/finetune.py --layers shallow:3

# Opens the demo in the browser: http://127.0.0.1:7860
demo: .venv/installed-demo
	$(BIN)/python demo/app.py

# Runs every test.
test: .venv/installed-dev .venv/chromium
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: setup.cfg setup.py pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@

.venv/installed-demo: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[demo]"
	touch $@

# The tests of the demo drive a real browser.
.venv/chromium: | .venv/bin/python
	command -v chromium || (apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium)
	touch $@

clean:
	rm -rf .venv build dist *.egg-info
