# Two commands for a fresh machine: `make demo` and `make test`.  Each sets itself up in .venv first.

# The first Python of a supported version; another one is given as `make PYTHON=... demo`.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
DEMO_FLAGS ?=

.PHONY: help demo test check sizes format docs bench weights clean

help:
	@echo "make demo    renders rooms, trains on them and recovers unseen ones; pictures in demo/"
	@echo "make test    runs all tests"
	@echo "make check   lint, format and types, as in continuous integration"
	@echo "make sizes   fails where a compiled program has grown by more than a fifth"
	@echo "make format  formats the code and mends what lint can mend"
	@echo "make docs    builds the documentation in site/; open site/index.html"
	@echo "make bench   measures speed, saves a table in bench/ and compares it with the last one"
	@echo "make weights trains what comes with the package, in made_weights/: 80 minutes, can be interrupted"
	@echo "make clean   removes .venv, the demo and the site"

demo: .venv/installed
	$(BIN)/python -m launch.demo $(DEMO_FLAGS)

test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

sizes: .venv/installed
	$(BIN)/python -m benchmarks.sizes

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The variable silences an announcement of the theme's makers.
docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: .venv/installed
	$(BIN)/python -m benchmarks

weights: .venv/installed
	$(BIN)/python -m launch.weights

# Without --no-compile pip compiles 13,800 modules, one core for 40 s; most are never imported.
.venv/installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed and not found;" \
		"install one, or name it: make PYTHON=/path/to/python3"; exit 1; }
	@echo "Setting up .venv with $(PYTHON): once, one or two minutes."
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv demo site
