# `make` lists the targets. Each sets up what it needs in .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
CONSTRAINED := -m pip install --quiet --constraint constraints.txt --editable
INSTALL := $(BIN)/python $(CONSTRAINED)

.PHONY: help report test test-study test-slow test-sharing test-cluster test-backends ci-backends parity faults soak probes audit lock benchmark notebooks jupyter docs gallery lint clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

report: $(VENV)/.installed  ## the whole demo study, from drawn chests to reports/demo/report.html
	@$(BIN)/lungkeras report demo

test: $(VENV)/.test-installed  ## the tests, in minutes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-study: $(VENV)/.test-installed  ## the whole study on a small scale: every run, few scans, one epoch
	$(BIN)/python -m pytest -n 2 --dist loadfile -m study

test-slow: $(VENV)/.test-installed  ## every model of keras.applications, the figures of the gallery, the widget in JupyterLab, a small study from a wheel
	$(BIN)/python -m pytest -m slow

test-sharing: $(VENV)/.test-installed  ## a copied study is recognised, and only what changed is trained again
	$(BIN)/python -m pytest -m sharing

test-cluster: $(VENV)/.test-installed  ## a small study on a real Slurm of one node (needs Debian's slurm-wlm and munge)
	$(BIN)/python -m pytest -m cluster -s

test-backends: $(VENV)/.test-installed test-jax test-torch  ## the tests on JAX and PyTorch, without TensorFlow; do all agree?
	$(BIN)/python -m pytest -m parity

# JAX compiles every shape, for minutes: compiled code is cached.
COMPILED = JAX_COMPILATION_CACHE_DIR=$(CURDIR)/.venv-jax/compiled JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0

test-%: .venv-%/.installed
	KERAS_BACKEND=$* $(COMPILED) .venv-$*/bin/python -m pytest $(TESTS)
	KERAS_BACKEND=$* $(COMPILED) .venv-$*/bin/python -m pytest -m study -k one_run

ci-backends: ci-jax ci-torch  ## a selection of the tests on JAX and PyTorch, in minutes

# Fast compilation matters more here than fast execution.
ci-%: .venv-%/.installed
	KERAS_BACKEND=$* $(COMPILED) JAX_DISABLE_MOST_OPTIMIZATIONS=1 .venv-$*/bin/python -m pytest -m backend

parity: $(VENV)/.installed .venv-jax/.installed .venv-torch/.installed  ## differences between backends, for the demo's report
	$(BIN)/python -m lungkeras.training.parity --to reports/demo/tables/parity.csv

faults: $(VENV)/.test-installed  ## injected faults, in minutes: kills, damaged scans, hostile files and names
	$(BIN)/python -m pytest tests/faults -m ''

soak: $(VENV)/.test-installed  ## a small study ten times in one folder: memory, open files and disk use stay constant
	$(BIN)/python -m pytest -m soak -k ten -s

probes: $(VENV)/.test-installed  ## the audit on planted sources, over seeds, in minutes
	$(BIN)/python -m pytest -m probes

audit: .venv-audit/.installed  ## known vulnerabilities of the locked packages, where their database can be reached
	.venv-audit/bin/python .ci/audit.py

lock: .venv-audit/.installed  ## requirements.lock anew: every package of constraints.txt and its hashes
	.venv-audit/bin/uv pip compile pyproject.toml --all-extras --constraint constraints.txt --generate-hashes --quiet \
		--no-emit-index-url --no-annotate --no-header --python $(PYTHON) --output-file requirements.lock

# One script after another, as parallel runs disturb timings. `backends` uses those that `make test-backends` set up.
benchmark: $(VENV)/.test-installed  ## every benchmark and its plots, in hours (QUICK=--quick: a short check, in minutes)
	for script in training_step input_pipeline epoch backends scale paper; do \
		$(BIN)/python benchmarks/$$script.py $(QUICK) || exit 1; done
	$(BIN)/python benchmarks/plots.py $(QUICK)

notebooks: $(VENV)/.installed  ## write each notebook from its paired script
	$(BIN)/jupytext --to ipynb --update notebooks/*.py

jupyter: $(VENV)/.installed  ## open the notebooks
	$(BIN)/jupyter lab notebooks

docs: $(VENV)/.test-installed  ## the documentation as a site: site/index.html, offline; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

gallery: $(VENV)/.installed  ## redraw the pictures of docs/gallery.md from a finished demo
	$(BIN)/python docs/draw_gallery.py

lint: $(VENV)/.test-installed  ## fix style automatically
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove drawn sources, prepared datasets and reports
	rm -rf sources prepared reports/*/ .snakemake

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "Setting up $(VENV), a few minutes once"
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) ".[tensorflow,jupyter]"
	@touch $@

.venv-audit/.installed:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet pip-audit uv
	@touch $@

.venv-%/.installed: pyproject.toml constraints.txt
	@echo "Setting up .venv-$*, a few minutes once"
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python $(CONSTRAINED) ".[$*]" pytest
	@touch $@

$(VENV)/.test-installed: $(VENV)/.installed
	$(INSTALL) ".[tensorflow,jupyter,test,docs,hub,keras-cv,export,dicom,slurm,kubernetes,tensorboard,mlflow,tf-keras-vis]"
	@touch $@
