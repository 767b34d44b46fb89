# Everything runs in an environment of its own, $(VENV), made when it is needed;
# an activated one is left alone.

PYTHON ?= python3
VENV ?= .venv
PORT ?= 8080
ARGS ?=
# The other servers stand apart from the development tools.
BENCHMARK_VENV ?= .venv-benchmark
# On all processors.
PYTEST ?= pytest --numprocesses auto --dist worksteal

RUN := $(VENV)/bin/python -m
# The stamps carry a mark of the directory: a checkout that was copied or moved
# with its environment is installed again, and does not run the old one's code.
HERE := $(shell pwd | cksum | cut -d ' ' -f 1)
PACKAGE := $(VENV)/.package-$(HERE)
DEV := $(VENV)/.dev-$(HERE)
BENCHMARK := $(BENCHMARK_VENV)/.benchmark-$(HERE)

.PHONY: help demo test test-default test-asyncio lint format types coverage docs benchmark package clean
.NOTPARALLEL:

help:
	@echo "make demo      serve examples/demo.py on 127.0.0.1, PORT=$(PORT)"
	@echo "make test      run the tests, on the default and the asyncio reactor (ARGS='-k name')"
	@echo "make lint      check the style; make format corrects what it can"
	@echo "make types     check the types"
	@echo "make coverage  run the tests on the default reactor, and check the branch coverage"
	@echo "make docs      check the documentation"
	@echo "make benchmark compare servers, in about 20 minutes (ARGS='--quick', '--write', '--help')"
	@echo "make package   build the wheel and the sdist in dist/"
	@echo "make clean     remove what was built, $(VENV) and $(BENCHMARK_VENV)"

demo: $(PACKAGE)
	$(VENV)/bin/wsgiflush --graceful-timeout 1 --listen tcp:$(PORT):interface=127.0.0.1 examples/demo.py

test: test-default test-asyncio

test-default: $(DEV)
	$(RUN) $(PYTEST) $(ARGS)

test-asyncio: $(DEV)
	$(RUN) $(PYTEST) --reactor=asyncio $(ARGS)

lint: $(DEV)
	$(RUN) ruff check
	$(RUN) ruff format --check

format: $(DEV)
	$(RUN) ruff check --fix --exit-zero
	$(RUN) ruff format

types: $(DEV)
	$(RUN) mypy
	$(RUN) mypy --config-file tests/mypy.ini

coverage: $(DEV)
	$(RUN) coverage erase
	$(MAKE) --no-print-directory test-default PYTEST='coverage run -m $(PYTEST)'
	$(RUN) coverage combine --quiet
	$(RUN) coverage report

docs: $(DEV)
	$(RUN) pytest tests/test_docs.py

benchmark: $(BENCHMARK)
	$(BENCHMARK_VENV)/bin/python -m benchmarks.compare $(ARGS)

package: $(DEV)
	rm -rf dist
	$(RUN) build

clean:
	rm -rf $(VENV) $(BENCHMARK_VENV) dist .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache

$(PACKAGE): pyproject.toml
	@$(check_python)
	@$(make_venv)
	@echo "Installing twisted-wsgiflush into $(VENV)"
	@$(RUN) pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(DEV): pyproject.toml
	@$(check_python)
	@$(make_venv)
	@echo "Installing twisted-wsgiflush and its development tools into $(VENV)"
	@$(RUN) pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# What does not build is missing in the tables.
$(BENCHMARK): pyproject.toml benchmarks/requirements.txt benchmarks/compiled.txt
	@$(check_python)
	@$(BENCHMARK_VENV)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(BENCHMARK_VENV)
	@echo "Installing twisted-wsgiflush and the servers it is compared with into $(BENCHMARK_VENV)"
	@$(BENCHMARK_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		--editable '.[tls,http2]' --requirement benchmarks/requirements.txt
	@for server in $$(grep -v '^#' benchmarks/compiled.txt); do \
		$(BENCHMARK_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps "$$server" \
		|| echo "$$server does not build; see benchmarks/compiled.txt" >&2; \
	done
	@touch $@

define check_python
if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then \
	echo "$(PYTHON) is not a Python 3.10 or newer; name one: make PYTHON=/path/to/python3" >&2; exit 1; \
fi; \
if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
	echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; \
fi
endef

define make_venv
$(RUN) pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
endef
