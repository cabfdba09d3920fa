# make demo   find particles on a rendered belt, with the shipped weights, on this CPU
# make test   lint, types and tests
PYTHON ?= python3
DEMO := .venv/demo
TEST := .venv/test

.PHONY: demo test test-slow clean

demo: $(DEMO)/.ready
	rm -rf demo-out
	$(DEMO)/bin/bench demo demo-out

test: $(TEST)/.ready
	$(TEST)/bin/ruff check .
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/mypy
	$(TEST)/bin/pytest

test-slow: $(TEST)/.ready
	$(TEST)/bin/pytest -m slow

clean:
	rm -rf .venv demo-out

$(DEMO)/.ready: EXTRA := cpu
$(TEST)/.ready: EXTRA := dev
# Their dependency opencv-python would overwrite opencv-python-headless.
$(TEST)/.ready: ALONE := sahi trackers
.venv/%/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --constraint constraints.txt --editable '.[$(EXTRA)]'
	$(if $(ALONE),$(@D)/bin/pip install --quiet --constraint constraints.txt --no-deps $(ALONE))
	touch $@
