# Every target does its own set-up; what is done is skipped the second time.
# Another interpreter: make setup PYTHON=python3.12. Another set of extras: make setup EXTRAS=dev,ray

PYTHON ?= python3
EXTRAS ?= dev
BIN := .venv/bin
PIP = $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt
comma := ,
STAMP := .venv/.installed-$(subst $(comma),-,$(EXTRAS))
TL3 := .venv-tl3
TL3_PINS := transformer-lens==3.9.0 better-abc==0.0.3
TL3_TESTS := tests/metrics tests/models tests/operators tests/spaces tests/recipes
LOWEST := .venv-lowest
LOWEST_TESTS := tests/metrics tests/models/test_models.py tests/operators tests/recipes tests/spaces/test_cache.py \
	tests/spaces/test_latents.py tests/test_packaging.py
# A line for a .pth file: all that an environment lacks is .venv's.
ON_TOP = import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))
PURELIB = import sysconfig; print(sysconfig.get_path("purelib"))

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-lowest test-tl3 check fix coverage paper real languages notebooks bench docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP) ## make .venv and install everything into it

demo: $(STAMP) ## the bundled pair, merged, scored and drawn in one report
	$(BIN)/lm-merge demo

test: $(STAMP) ## the tests; more with ARGS, for example ARGS='-m slow'
	$(BIN)/python -m pytest -n logical --dist worksteal $(ARGS)

test-lowest: $(LOWEST)/.installed ## the core tests with the lowest version of each dependency that pyproject.toml allows
	CHECK_SHAPES=1 $(LOWEST)/bin/python -m pytest -n logical --dist worksteal $(LOWEST_TESTS) $(ARGS)

test-tl3: $(TL3)/.installed ## the core tests with TransformerLens 3.9 and its HookedTransformer
	CHECK_SHAPES=1 $(TL3)/bin/python -m pytest -n logical --dist worksteal $(TL3_TESTS) $(ARGS)

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

paper: $(STAMP) ## all experiments of the paper in one folder; another pair: RECIPE=pair.yaml ARGS='--device cuda'
	$(BIN)/python -m analyses.paper $(if $(RECIPE),--recipe $(RECIPE),--export figures/paper) $(ARGS)

real: $(STAMP) ## a real 135M pair and its adapters: DATA=FOLDER ADAPTERS=FOLDER, MODEL=FOLDER instead of the hub's; 50 problems: ARGS='--n_questions 50'
	$(BIN)/python -m analyses.real $(if $(MODEL),--model $(MODEL)) $(if $(DATA),--data $(DATA)) \
		$(if $(ADAPTERS),--adapters $(ADAPTERS)) $(ARGS)

languages: $(STAMP) ## which languages' models to merge: a study of 22; DATA=FOLDER with MASSIVE and URIEL
	@test -n "$(DATA)" || { echo "give DATA=FOLDER, with massive11_utt.parquet and what docs/languages.md names"; exit 2; }
	$(BIN)/python -m analyses.languages --data $(DATA) --export figures/languages $(ARGS)

notebooks: $(STAMP) ## run every notebook from top to bottom
	$(BIN)/python -m pytest -o filterwarnings=default -p nbmake.pytest_plugin --nbmake notebooks

bench: $(STAMP) ## speed and memory next to the alternatives; PEER=PATH/mergekit-yaml for its rows, too
	for name in decode operators assisted cka curvature layerwise many_models adaptation decomposition; do \
		$(BIN)/python -m benchmarks.$$name --export benchmarks/results || exit 1; \
	done
	$(BIN)/python -m benchmarks.decode --export benchmarks/results/prompt512 \
		--n_prompt 512 --layers '[7]' --batches '[1]' --n_rounds 5
	$(BIN)/python -m benchmarks.adapters --peer true --export benchmarks/results
	$(BIN)/python -m benchmarks.weights --export benchmarks/results $(if $(PEER),--peer $(PEER))

docs: $(STAMP) ## the guide and the API reference as one site with search, into build/docs
	$(BIN)/zensical build --strict
	@echo "read it with search at http://localhost:8000: $(BIN)/python -m http.server -d build/docs"

clean: ## delete caches and build products; .venv and runs stay
	rm -rf build dist *.egg-info .coverage .pytest_cache .ruff_cache
	find lm_merge analyses figures benchmarks tests -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# An environment on top of .venv: its own TransformerLens comes first, all else is .venv's.
$(TL3)/.installed: $(STAMP) Makefile
	rm -rf $(TL3)
	$(BIN)/python -m venv --without-pip $(TL3)
	$(BIN)/python -m pip --python $(TL3) install -q --disable-pip-version-check --no-deps $(TL3_PINS)
	$(BIN)/python -c '$(ON_TOP)' > "$$($(TL3)/bin/python -c '$(PURELIB)')/venv.pth"
	@touch $@

# Its own minimums come first, torch and all else are .venv's: torch has one CPU build, so its own minimum is not
# tested; that of TransformerLens is test-tl3's. pip resolves what the minimums need, so that minimums which
# exclude each other fail here. It lists packages of extras that need more than the core: those are not run.
# Wheels of the lowest numpy, pandas and scipy exist for Python 3.11 and 3.12.
$(LOWEST)/.installed: $(STAMP) Makefile tests/declared_minimums.py
	rm -rf $(LOWEST)
	$(BIN)/python -m venv --without-pip $(LOWEST)
	$(BIN)/python -c '$(ON_TOP)' > "$$($(LOWEST)/bin/python -c '$(PURELIB)')/venv.pth"
	$(BIN)/python tests/declared_minimums.py > $(LOWEST)/minimums.txt
	$(BIN)/python -m pip --python $(LOWEST) install -q --disable-pip-version-check --no-compile \
		--only-binary :all: -r $(LOWEST)/minimums.txt
	@touch $@

# torch goes first and alone: by the bare version an index that offers a CPU build gives that one,
# and the packages that follow find torch in place instead of choosing a CUDA build.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "lm_merge needs Python 3.11 or newer, and '$(PYTHON)' is not: make setup PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
		echo "'$(PYTHON)' comes without venv: install it (on Debian and Ubuntu: apt install python3-venv)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv, some minutes where nothing is cached"
	@$(PIP) "$$(grep '^torch==' constraints.txt)"
	@$(PIP) -e '.[$(EXTRAS)]'
	@touch $@
