# Every target starts from a bare clone: `make demo` and `make test` build .venv first.
#
#   PYTHON=python3.12   the interpreter that .venv is made with (3.10 to 3.13)
#   FUZZ="--inputs 200000 --seed 1"   what `make fuzz` does; without it, an hour
#   TORCH=              leaves torch out: everything but bench's opponent works

PYTHON ?= python3
TORCH ?= torch
WORKERS ?= 2
FUZZ ?= --seconds 3600

BIN := .venv/bin
STAMP := .venv/.installed
SBOM := build/sbom
PIP := $(BIN)/python -m pip --disable-pip-version-check
TYPES := build/types/spikegpt_neuro
TESTS_MYPY := --explicit-package-bases --namespace-packages
# Stands for Lava's Loihi extension: beside the tests it would hide the real lava from mypy.
DOUBLE := tests/support/loihi_double

# Other simulators, which the tests compare exports with; where one cannot be had, its tests skip.
PEERS := sanafe $(if $(TORCH),loguru neurobench nirtorch norse snntorch 'spikingjelly>=2')

.PHONY: venv test test-all fuzz coverage lint types demo docs dist clean

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt Makefile
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 13) \
	  else "error: Python %d.%d; 3.10 to 3.13 is needed, try make venv PYTHON=python3.12" % v)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install -q -c constraints.txt setuptools
	@if [ -n "$(TORCH)" ]; then echo "$(PIP) install -q -c constraints.txt torch"; \
	  $(PIP) install -q -c constraints.txt torch || { \
	  echo "error: torch cannot be installed on this Python; make venv TORCH= leaves it out" >&2; \
	  exit 1; }; fi
	$(PIP) install -q -c constraints.txt numpy scipy networkx asteval scikit-learn
	$(PIP) install -q -c constraints.txt --ignore-requires-python --no-deps lava-nc
	PYTHONWARNINGS=ignore $(PIP) install -q -c constraints.txt --no-build-isolation -e '.[onnx,hub,nir,netx,report,cluster,frame,dev]'
	@for peer in $(PEERS); do $(PIP) install -q -c constraints.txt --no-deps "$$peer" \
	  || echo "left out: $$peer (its tests skip)" >&2; done
	@$(PIP) install -q -c constraints.txt --ignore-requires-python --no-deps lava-dl \
	  || echo "left out: lava-dl (its tests skip)" >&2
	@echo "compiling kernels"; $(BIN)/spikegpt-neuro doctor --compile --quiet
	@touch $@

# The suite without its slow tests; `make test-all` runs every one.
test: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) -m 'not slow'

test-all: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS)

# Damaged and changed files of every kind; tests/support/fuzzing/__main__.py says more.
fuzz: $(STAMP)
	PYTHONPATH=tests/support $(BIN)/python -m fuzzing --workers $(WORKERS) $(FUZZ)

# Which lines the fast suite reaches; shown, no limit. Compiled kernels are not seen.
coverage: $(STAMP)
	@mkdir -p build
	$(BIN)/python -m pytest -n $(WORKERS) -m 'not slow' --cov --cov-report=term

lint: $(STAMP) types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	MYPYPATH=build/types $(BIN)/mypy -p spikegpt_neuro
	MYPYPATH=build/types:tests/support $(BIN)/mypy $(TESTS_MYPY) --exclude /loihi_double/ tests
	MYPYPATH=$(DOUBLE) $(BIN)/mypy $(TESTS_MYPY) --allow-subclassing-any $(DOUBLE)

# mypy does not follow the editable install's finder: show it the tree as it installs.
types:
	@rm -rf build/types && mkdir -p $(TYPES)
	@ln -s $(CURDIR)/spikegpt_neuro/* $(TYPES)/
	@ln -s $(CURDIR)/converters $(CURDIR)/backends $(CURDIR)/hw_profiles $(TYPES)/

# The site, into build/site; a broken link or reference fails (with -q, --strict would see none).
docs: .venv/.docs
	$(BIN)/python -m mkdocs build --strict --clean

.venv/.docs: $(STAMP)
	@$(BIN)/python -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) \
	  else "error: the documentation tools need Python 3.11 or later")'
	$(PIP) install -q -c constraints.txt --no-build-isolation -e '.[docs,notebook]'
	@touch $@

# Sources and wheel, into dist/: the wheel is built from the sources, with what .venv holds. Beside
# them a software bill of materials of .venv (CycloneDX), by a tool that is not in it.
dist: $(STAMP) $(SBOM)/.installed
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(SBOM)/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type library \
	  --output-reproducible -o dist/environment.cdx.json $(BIN)/python

$(SBOM)/.installed: constraints.txt | $(STAMP)
	test -x $(SBOM)/bin/python || $(BIN)/python -m venv $(SBOM)
	$(SBOM)/bin/python -m pip --disable-pip-version-check install -q -c constraints.txt cyclonedx-bom
	@touch $@

demo: $(STAMP)
	$(BIN)/python examples/demo.py

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
