# Every target sets up .venv by itself. PYTHON may name another interpreter of version 3.11 or newer.
PYTHON ?= python3.11
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: venv demo test test-slow lint benchmark benchmark-predictors clean

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

# The public data are not part of the repository; DATA is the folder that holds nas_bench_201, fbnet, once_for_all.
DATA ?= ../shared/data
PREDICTORS := OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.predictors
benchmark-predictors: $(STAMP)
	$(PREDICTORS).table2
	$(PREDICTORS).host_clusters
	$(PREDICTORS).prediction_speed
	$(PREDICTORS).public_columns --data $(DATA)
	$(PREDICTORS).noise --data $(DATA)
	$(PREDICTORS).public_columns --all-columns --splits 2 --data $(DATA)
	$(PREDICTORS).learning_curves --data $(DATA)
	$(PREDICTORS).gcn --data $(DATA)
	$(PREDICTORS).transfer --data $(DATA)
	$(PREDICTORS).vector_spaces --data $(DATA)
	$(BIN)/python -m benchmarks.summary

clean:
	rm -rf .venv demo build *.egg-info
