# `make run` and `make test` set up what they need; nothing but Python (3.11 to 3.13) and make is expected to be there.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

# What shares an xdist worker, and what comes first, tests/helpers/lanes.py says. A worker that dies
# ends the tests: xdist 3.8 can wait forever for the one that takes its place.
LANES := --dist loadfile --no-loadscope-reorder --max-worker-restart=0
# One more than there are cores: many tests wait for processes more than they compute.
WORKERS := -n 3

.PHONY: run test test-fast test-slow setup lint clean

run: setup
	@$(BIN)/python pipeline/run.py fresh=true

# Everything that a change can break.
test: setup
	@HYPOTHESIS_PROFILE=ci $(BIN)/python -m pytest $(WORKERS) $(LANES)

# No Ray and no process: within two minutes.
test-fast: setup
	@HYPOTHESIS_PROFILE=fast $(BIN)/python -m pytest tests/unit -n 2 $(LANES)

# Whole runs repeated, thousands of damaged files, and every property with five times the examples.
test-slow: setup
	@HYPOTHESIS_PROFILE=thorough $(BIN)/python -m pytest -m "slow or hypothesis" $(WORKERS) $(LANES)

# Rules and layout of the code, types, and which package may import which.
lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@start=$$(date +%s); echo "setting up .venv (once; about 2 minutes)"; \
	$(PYTHON) -m venv .venv && \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,lint]' && \
	touch $(STAMP) && echo "set-up: $$(( $$(date +%s) - start )) s"

clean:
	rm -rf .venv outputs build *.egg-info
