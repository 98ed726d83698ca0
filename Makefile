# `make help` lists the targets. Each sets up what it needs first: in .venv, with uv where that is
# installed and with pip where it is not.

PYTHON ?= python3
VENV := .venv
IN := $(VENV)/bin
# A missing layer or model skips the tests that need it, with its remedy; where CI is set it fails
# them.
PYTEST_FLAGS ?= $(if $(CI),--require-jail --require-model)
# One test process per processor; each takes over tests of the other when its own are done.
PARALLEL ?= -n logical --maxprocesses 8 --dist worksteal

UV := $(shell uv --version 2>/dev/null)
MAKE_VENV := $(if $(UV),uv venv --quiet --seed --python $(PYTHON),$(PYTHON) -m venv) $(VENV)
INSTALL := $(if $(UV),uv pip install --compile-bytecode --python $(IN)/python,$(IN)/python -m pip install --disable-pip-version-check)

# `make ... PYTHON=python3.12` after another version has everything made anew.
VERSION := import sys; print(sys.version, sys.base_prefix)
ifneq ($(origin PYTHON),file)
ifneq ($(wildcard $(IN)/python),)
ifneq ($(shell $(IN)/python -c '$(VERSION)'),$(shell $(PYTHON) -c '$(VERSION)'))
.PHONY: $(IN)/python $(VENV)/.demo $(VENV)/.dev
endif
endif
endif

# What was compiled once is not compiled again by every process that a test starts.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo page page-shots check unit fuzz test test-libraries model pytest test-clients format clean docs test-faces test-arrow test-install test-lowest

help:  ## list the targets
	@sed -nE 's/^([a-z-]+):.*  ## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

demo: $(VENV)/.demo  ## real snippets in real jails, then a small model that writes some (1.1 GB)
	@$(IN)/python -m runner.demo

check: $(VENV)/.dev  ## the quick loop, nothing is run: format, lint, types, layers, documents
	$(IN)/ruff format --check .
	$(IN)/ruff check .
	$(IN)/mypy
	$(IN)/mypy --config-file tests/mypy.ini
	$(IN)/python -m pytest -q tests/unit/test_layers.py tests/unit/test_documents.py

unit: $(VENV)/.dev  ## tests without a jail, a download or a wait: under a minute
	$(IN)/python -m pytest -q $(PARALLEL) -m 'not slow and not corpora' tests/unit

test: check model pytest  ## every check and every test; fetches the embedded model once (1.1 GB)

model: $(VENV)/.dev  # the embedded model, in the user's cache
	@$(IN)/cellblock model install || echo 'Its tests are skipped, or fail where CI is set.'

# In an environment of its own: 3 GB. torch without CUDA comes from PIP_FIND_LINKS or TORCH_INDEX;
# without either its row is not tried.
LIBRARIES := altair beautifulsoup4 blosc2 bokeh duckdb joblib lightgbm lxml matplotlib networkx \
  numba numexpr numpy onnxruntime opencv-python-headless openpyxl pandas pillow plotly polars \
  pyarrow requests scikit-learn scipy seaborn shapely statsmodels sympy tqdm xgboost
TORCH_INDEX ?=
TORCH_FROM := $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX),$(addprefix --find-links ,$(PIP_FIND_LINKS)))

test-libraries:  ## install thirty big libraries, and try which of them survive a kill
	@$(MAKE) -s VENV=.venv-libraries .venv-libraries/.libraries
	.venv-libraries/bin/python -m pytest -q -m libraries tests/libraries $(ARGUMENTS)

$(VENV)/.libraries: $(VENV)/.dev Makefile
	@$(INSTALL) $(LIBRARIES)
	@$(if $(TORCH_FROM),$(INSTALL) $(TORCH_FROM) torch,true) || echo 'torch is not tried here' >&2
	@touch $@

# Apart from .venv: where pandas finds Arrow it uses it, and other tests are about pandas without.
test-arrow: .venv-arrow/.arrow  ## values of Arrow, which is installed apart (45 MB)
	PYTHONPATH=.venv-arrow $(IN)/python -m pytest -q tests/unit/test_values.py -k arrow $(ARGUMENTS)

.venv-arrow/.arrow: $(VENV)/.dev
	@$(INSTALL) --target .venv-arrow 'pyarrow>=17'
	@touch $@

# 60 s a target, or: make fuzz ARGUMENTS='frames messages --seconds 900'
fuzz: $(VENV)/.dev  ## fuzz the parsers of what guests and clients send (atheris, from PyPI)
	@$(INSTALL) -e '.[fuzz]'
	$(IN)/python -m tests.fuzz $(ARGUMENTS)

pytest: $(VENV)/.dev  ## tests alone: make pytest ARGUMENTS='tests/jail -k branch'
	$(IN)/python -m pytest $(PARALLEL) $(PYTEST_FLAGS) $(ARGUMENTS)

test-clients: $(VENV)/.dev  ## the server with frameworks, which it installs apart (npm and an index)
	CELLBLOCK_FRAMEWORKS=required $(IN)/python -m pytest -q tests/clients/test_frameworks.py

test-faces: $(VENV)/.dev  ## faces with the frameworks that they are for, each installed apart (an index)
	$(IN)/python tests/faces/each_framework.py $(ARGUMENTS)

docs: $(VENV)/.dev  ## build the documents into site/, static files; fails for a link that leads nowhere
	NO_MKDOCS_2_WARNING=1 $(IN)/python -m mkdocs build -f .mkdocs.yml --strict --clean

test-install:  ## build the package, and try it in clean environments of each Python (uv, an index)
	$(PYTHON) tests/installing.py install

test-lowest:  ## tests with the oldest versions that pyproject.toml allows (uv, an index)
	$(PYTHON) tests/installing.py lowest

format: $(VENV)/.dev  ## put the sources into the one format, and mend what ruff can
	$(IN)/ruff check --fix .
	$(IN)/ruff format .

# What it builds is kept in the tree and shipped in the wheel: users need no npm.
page:  ## build the page at `/` and the report's template from runner/page/source, with npm
	cd runner/page && npm ci --no-audit --no-fund && npm run check && npm run build

page-shots: $(VENV)/.dev  ## pictures of every view of the page, light, dark, narrow, in page-shots/
	PYTHONPATH=tests/page:tests/clients:tests/unit/runner $(IN)/python tests/page/shots.py page-shots

clean:  ## remove what the other targets made
	rm -rf $(VENV) .venv-* .fuzz .mypy_cache .pytest_cache .ruff_cache .hypothesis site cellblock-demo.png page-shots runner/page/node_modules

$(IN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11' >&2; exit 1; }
	@rm -rf $(VENV)
	@$(MAKE_VENV) || \
	  { rm -rf $(VENV); echo 'On Debian and Ubuntu: sudo apt-get install python3-venv' >&2; exit 1; }

# Made anew when the dependencies change; a marker is there only if everything was installed.
$(VENV)/.demo: pyproject.toml | $(IN)/python
	@echo 'Setting up $(VENV) for the demo, once:'
	@$(INSTALL) -e '.[data,embedded]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(IN)/python
	@echo 'Setting up $(VENV) for development, once:'
	@$(INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/.demo
