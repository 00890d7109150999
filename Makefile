# Every target sets up .venv by itself. PYTHON may name another interpreter of version 3.11 or newer.
PYTHON ?= python3.11
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: venv demo test test-slow lint benchmark clean

venv: $(STAMP)

$(STAMP): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "leti_opt needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || sh tools/install_venv_module.sh "$(PYTHON)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

demo: $(STAMP)
	@$(BIN)/python examples/demo.py

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: $(STAMP)
	$(BIN)/python -m pytest -n 2

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

benchmark: $(STAMP)
	$(BIN)/python -m benchmarks.speed.enumeration
	$(BIN)/python -m benchmarks.speed.table_costs
	$(BIN)/python -m benchmarks.speed.writer
	$(BIN)/python -m benchmarks.speed.evaluation_steps
	$(BIN)/python -m benchmarks.speed.store_scale
	$(BIN)/python -m benchmarks.campaigns.busy
	$(BIN)/python -m benchmarks.campaigns.rehearsal
	$(BIN)/python -m benchmarks.certainty.intervals
	$(BIN)/python -m benchmarks.agreement
	$(BIN)/python -m benchmarks.summary

clean:
	rm -rf .venv demo build *.egg-info
