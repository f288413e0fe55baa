# Each target first brings what it lacks (scripts/need.sh): Debian packages by name, and .venv from requirements.lock.
.PHONY: help demo test lint long bench lock clean

# The lock file of `need` is the script itself, so that two targets at once do not install twice.
need = @flock --close scripts/need.sh sh scripts/need.sh
export PATH := $(CURDIR)/.venv/bin:$(PATH):/usr/sbin:/sbin

# Tests at a time. A file of tests stays on one worker, so what it shares (a broker, a browser) is started once.
JOBS ?= 2
# A benchmark is a module of benchmarks/ that can be run; the others are their common parts.
ONLY ?= $(basename $(notdir $(shell grep -ls __main__ benchmarks/*.py)))

help:
	@echo 'make demo [FOOTAGE=DIR]   the whole journey on this machine; result in build/demo/report.json'
	@echo 'make test [JOBS=2]        lint, then all tests'
	@echo 'make lint                 ruff, mypy, import-linter'
	@echo 'make long NAME=…          a test at its full size; result in docs/measured/'
	@echo 'make bench [ONLY=NAME]    against peers; results in build/bench/'
	@echo 'make lock                 requirements.lock anew from pyproject.toml'
	@echo 'make clean                away with build/ and caches (.venv stays)'

demo:
	$(need) demo
	dockwarden-sim demo --into build/demo $${FOOTAGE:+--footage "$$FOOTAGE"}

test:
	$(need) test
	@$(MAKE) --no-print-directory lint
	pytest --numprocesses=$(JOBS) --dist=loadfile

lint:
	$(need) lint
	ruff check
	ruff format --check
	mypy
	lint-imports --no-logo

long:
	$(need) test
	@test -n "$(NAME)" || { echo 'make long NAME=…: one of' $(basename $(notdir $(wildcard tests/long/[a-z]*.py))); exit 2; }
	python -m tests.long.$(subst -,_,$(NAME))

bench:
	$(need) bench
	@mkdir -p build/bench
	@set -e; for name in $(ONLY); do echo "python -m benchmarks.$$name"; python -m benchmarks.$$name; done

lock:
	$(need) lint
	test -x build/uv/bin/uv || { python -m venv build/uv && build/uv/bin/pip install --quiet uv; }
	build/uv/bin/uv pip compile --generate-hashes --universal --python-version 3.11 --no-emit-index-url \
	  --all-extras pyproject.toml -o requirements.lock

clean:
	@if [ -d build ]; then chmod -R u+w build; fi
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache src/*.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
