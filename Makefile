# Everything sets itself up in .venv; only Python 3.11 or newer, make and a package index are needed.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: finetune test lint clean

# Fine-tunes the first three blocks of the shipped U-Net on simulated breast ultrasound, offline.
finetune: .venv/installed
	$(BIN)/python scripts/finetune.py --layers shallow:3

# Runs every test.
test: .venv/installed-dev
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

clean:
	rm -rf .venv build dist *.egg-info
