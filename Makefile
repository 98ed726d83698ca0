# make demo: sets up what it needs, then runs real snippets and shows what became of them.
# make page: builds the page at `/` and the report's template from runner/page/source, with npm.
# make page-shots: pictures of every view of the page, light, dark and 390 px wide, in page-shots/.
# make test: sets up what it needs, then runs every check: ruff, mypy, pytest. For its tests the
# embedded model is fetched once, 1.1 GB, into the user's cache; without a network they are skipped.

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
# A missing layer or model skips the tests that need it, with its remedy; where CI is set it fails
# them.
PYTEST_FLAGS ?= $(if $(CI),--require-jail --require-model)
# One test process per processor; each takes over tests of the other when its own are done.
PARALLEL ?= -n logical --maxprocesses 8 --dist worksteal

# What was compiled once is not compiled again by every process that a test starts.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo page page-shots test clean

demo: $(READY)
	@$(VENV)/bin/python -m runner.demo

test: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	@$(VENV)/bin/cellblock model install || echo 'Its tests are skipped, or fail where CI is set.'
	$(VENV)/bin/python -m pytest $(PARALLEL) $(PYTEST_FLAGS)

# What it builds is kept in the tree and shipped in the wheel: users need no npm.
page:
	cd runner/page && npm ci --no-audit --no-fund && npm run check && npm run build

page-shots: $(READY)
	PYTHONPATH=tests/page:tests/clients:tests/unit/runner $(VENV)/bin/python tests/page/shots.py page-shots

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis cellblock-demo.png page-shots runner/page/node_modules

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo 'On Debian and Ubuntu: sudo apt-get install python3-venv' >&2; exit 1; }

# Made anew when the dependencies change; the marker is there only if everything was installed.
$(READY): pyproject.toml | $(VENV)/bin/python
	@echo 'Setting up $(VENV): once, about a minute.'
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@
