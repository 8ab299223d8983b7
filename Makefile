# `make run` and `make test` are all that a fresh clone needs; `make help` lists the rest.

PYTHON ?= python3
# Files in the order that tests/conftest.py gives them: the long ones first.
PYTEST_ARGS ?= -n 2 --dist loadfile --no-loadscope-reorder
CRASH_ARGS ?= --rounds 50
LOCK_ARGS ?=
TORCH = 2.13.0

VENV = .venv/bin/python

# Compiled once, and not again by each of the many processes: without it torch and Diffusers take twice as long to import.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL = help
.PHONY: help run test check format lint types contracts tests locales bench crash lock clean

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile

run: .venv/.runtime ## set up, start everything, print the page's address
	@$(VENV) main.py serve

test: .venv/.dev tests ## set up what tests need and pass the whole suite

check: .venv/.dev format lint types contracts tests ## what CI runs: format, lint, types, contracts, tests

format: .venv/.dev
	$(VENV) -m ruff format --check .

lint: .venv/.dev
	$(VENV) -m ruff check .

types: .venv/.dev
	$(VENV) -m mypy

contracts: .venv/.dev
	.venv/bin/lint-imports --no-logo

tests: .venv/.dev
	$(VENV) -m pytest $(PYTEST_ARGS)

locales: .venv/.dev ## collect every sentence into the template, and compile the catalogues
	$(VENV) -m scripts.locales

bench: .venv/.dev ## run every benchmark against its peer
	$(VENV) -m benchmarks

crash: .venv/.dev ## kill the server many times and look for losses; CRASH_ARGS="--rounds 50"
	$(VENV) -m tests.crash $(CRASH_ARGS)

# No find-links and no extra index: the lock must hold for everybody, not for one machine. No CUDA
# either: torch itself names the exact versions, and they differ between its CUDA builds.
lock: .venv/.dev ## write constraints.txt again; LOCK_ARGS=--upgrade for newer versions
	echo torch==$(TORCH) | env -u UV_FIND_LINKS -u UV_INDEX -u UV_EXTRA_INDEX_URL \
		UV_CUSTOM_COMPILE_COMMAND="make lock" \
		.venv/bin/uv pip compile pyproject.toml --group dev --constraints - --universal \
		--python-version 3.11 --no-annotate $(LOCK_ARGS) --output-file constraints.txt
	sed -i.bak -E '/^(nvidia-|cuda-|triton==)/d' constraints.txt && rm constraints.txt.bak

clean: ## remove .venv, caches and builds; never data
	rm -rf .venv build dist *.egg-info .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.runtime: pyproject.toml constraints.txt scripts/install.py
	@$(PYTHON) scripts/install.py
	@touch $@

.venv/.dev: .venv/.runtime
	@$(PYTHON) scripts/install.py --dev
	@touch $@
