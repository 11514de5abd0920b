# Everything a newcomer needs: `make demo` and `make test` do all their own set-up.
# A fresh Debian or Ubuntu machine needs python3 (>= 3.11) with its venv module, and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= out/demo
OPT ?= 1

.PHONY: demo test lint check bench fuzz tools steer format docs clean

demo: $(VENV)/.segcast ## run the main job on the bundled capture
	$(BIN)/segcast demo --out $(OUT)

# One process more than there are cores: the tests that mostly wait come first, in a process of their own.
test: $(VENV)/.dev tools ## install everything the tests need, and run them; with OPT=3, compiled as for users
	@echo "Compiling what many tests run (once; a few minutes on two cores)"
	NUMBA_OPT=$(OPT) $(BIN)/python -m tests.support.warm
	NUMBA_OPT=$(OPT) $(BIN)/python -m pytest --numprocesses $$(( $$(nproc) + 1 )) --dist worksteal $(PYTEST)

lint: $(VENV)/.dev ## format, lint and types, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test ## everything

bench: $(VENV)/.dev ## the figures of docs/performance.md, on this machine; flags of the ingest benchmark in BENCH
	$(BIN)/python -m benchmarks $(BENCH)

fuzz: $(VENV)/.dev ## a million odd captures through the reader and the decoders; see docs/fuzzing.md
	NUMBA_OPT=3 $(BIN)/python -m tests.fuzz $(FUZZ)

format: $(VENV)/.dev ## rewrite the sources in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev ## write the generated pages of docs/ again
	$(BIN)/python -m docs.generate

tools: ## system packages for the tests that use them; needs root, or says what is missing
	@sh tests/tools.sh

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Segcast needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12 demo"; exit 2; }
	@echo "Making $(VENV), where Segcast is installed (some seconds)"
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "The venv module is missing. As root: apt-get install python3-venv"; exit 2; }

# Not compiled: most of what is installed is never imported, and Python compiles what is.
$(VENV)/.segcast: $(VENV)/bin/python requirements.txt pyproject.toml
	@echo "Installing Segcast and what it needs (once; hundreds of MB, half a minute or as the network allows)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.segcast requirements-dev.txt requirements-cluster.txt
	@echo "Installing what the tests need (once; half a minute, or as the network allows)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -r requirements-dev.txt -r requirements-cluster.txt
	@touch $@

steer: ## compile the kernel's steering program anew; takes Debian 12's clang-14
	$(MAKE) -B -C replay/steer/program

clean: ## remove the environment and all output
	rm -rf $(VENV) out build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
