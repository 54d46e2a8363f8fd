# make repro: from nothing to a verdict.   make test: every check.   make dashboard: read what happened.
# make compare: experiments side by side, what differs alone, within a terminal.
# Each sets up .venv by itself. Another Python: make repro PYTHON=python3.12
PYTHON ?= python3.11
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DO_NOT_TRACK := 1
export DVC_NO_ANALYTICS := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export PYTHONUNBUFFERED := 1

.PHONY: repro test dashboard compare check clean

repro: $(BIN)/.ready
	attune check
	dvc repro
	@attune gate

test: $(BIN)/.ready
	ruff check .
	mypy
	pytest

dashboard: $(BIN)/.ready
	streamlit run dashboards/app.py

compare: $(BIN)/.ready
	@dvc exp show --no-pager --only-changed --drop '^(src|data|models|out)(/|$$)'

check: $(BIN)/.ready
	attune check

$(BIN)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	@echo "installing the exact set of constraints.txt into .venv (two to four minutes)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv out models metrics
