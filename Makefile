# `make run` and `make test` set up what they need; nothing but Python (3.11 to 3.13) and make is expected to be there.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: run test test-slow setup lint clean

run: setup
	@$(BIN)/python pipeline/run.py fresh=true

test: setup
	@$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: setup
	@$(BIN)/python -m pytest -m slow

lint: setup
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@start=$$(date +%s); echo "setting up .venv (once; about 2 minutes)"; \
	$(PYTHON) -m venv .venv && \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,lint]' && \
	touch $(STAMP) && echo "set-up: $$(( $$(date +%s) - start )) s"

clean:
	rm -rf .venv outputs build *.egg-info
