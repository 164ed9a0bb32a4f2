# Every target does its own set-up; what is done is skipped the second time.
# Another interpreter: make setup PYTHON=python3.12. Another set of extras: make setup EXTRAS=dev,ray

PYTHON ?= python3
EXTRAS ?= dev
BIN := .venv/bin
comma := ,
STAMP := .venv/.installed-$(subst $(comma),-,$(EXTRAS))

.DEFAULT_GOAL := help
.PHONY: help setup demo test check fix coverage figures notebooks bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP) ## make .venv and install everything into it

demo: $(STAMP) ## the bundled pair, merged, scored and drawn in one report
	$(BIN)/lm-merge demo

test: $(STAMP) ## the tests; more with ARGS, for example ARGS='-m slow'
	$(BIN)/python -m pytest $(ARGS)

check: $(STAMP) ## lint, format, types, import order; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -m pytest -q tests/test_import_order.py

fix: $(STAMP) ## repair lint and format where that can be done by machine
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

coverage: $(STAMP) ## the tests with line and branch coverage of lm_merge
	$(BIN)/python -m pytest --cov --cov-report=term-missing $(ARGS)

figures: $(STAMP) ## the figures of the paper, from the bundled pair
	$(BIN)/python -m analyses.report --export figures/paper

notebooks: $(STAMP) ## run every notebook from top to bottom
	$(BIN)/python -m pytest -o filterwarnings=default --nbmake notebooks

bench: $(STAMP) ## speed and memory beside the alternatives
	for name in decode operators assisted; do \
		$(BIN)/python -m benchmarks.$$name --export benchmarks/results || exit 1; \
	done

clean: ## delete caches and build products; .venv and runs stay
	rm -rf build dist *.egg-info .coverage .pytest_cache .ruff_cache
	find lm_merge analyses figures benchmarks tests -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# torch goes first and alone: by the bare version an index that offers a CPU build gives that one,
# and the packages that follow find torch in place instead of choosing a CUDA build.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "lm_merge needs Python 3.11 or newer, and '$(PYTHON)' is not: make setup PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
		echo "'$(PYTHON)' comes without venv: install it (on Debian and Ubuntu: apt install python3-venv)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@
