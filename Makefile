# A fresh clone needs only `make run` and `make test`; `make help` lists the rest.

PYTHON ?= python3
# Files in the order of tests/conftest.py: the slowest first.
PYTEST_ARGS ?= -n 2 --dist loadfile --no-loadscope-reorder
CRASH_ARGS ?= --rounds 50
FUZZ_ARGS ?=
LOCK_ARGS ?=
VENDOR_ARGS ?=
TORCH = 2.13.0

VENV = .venv/bin/python

# Bytecode is cached, because many processes import torch and Diffusers: without the cache that takes twice as long.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL = help
.PHONY: help run test quick backends check format lint types contracts tests times locales bench crash fuzz audit sbom lock vendor clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile

run: .venv/.runtime ## set up, start the server, print the page's address
	@$(VENV) main.py serve

test: .venv/.dev tests ## set up the test tools, run all tests

quick: .venv/.dev ## run the tests that start no process, no browser and no torch, but for the slowest, in a minute
	$(VENV) -m pytest -n 4 --dist loadfile --no-loadscope-reorder --quick

backends: .venv/.backends ## install the optional libraries whose tests are skipped without them

check: .venv/.dev format lint types contracts tests ## run everything that CI runs: format, lint, types, contracts, tests

format: .venv/.dev
	$(VENV) -m ruff format --check .

lint: .venv/.dev
	$(VENV) -m ruff check .

types: .venv/.dev
	$(VENV) -m mypy
	DENO_DIR=.venv/deno DENO_NO_UPDATE_CHECK=1 .venv/bin/deno check --quiet --config adapters/web/deno.json adapters/web/static

contracts: .venv/.dev
	.venv/bin/lint-imports --no-logo

tests: .venv/.dev
	$(VENV) -m pytest $(PYTEST_ARGS)

times: .venv/.dev ## run all tests, list the processor seconds of each file and the tests that are slow
	rm -rf .times
	PYTEST_PROCESSOR_TIME=.times $(VENV) -m pytest $(PYTEST_ARGS) -p tests.processor_time
	$(VENV) -m tests.processor_time .times

locales: .venv/.dev ## update the message template and compile the catalogues
	$(VENV) -m scripts.locales

bench: .venv/.dev ## run every benchmark against its peer
	$(VENV) -m benchmarks

crash: .venv/.dev ## kill the server repeatedly and check that nothing is lost; CRASH_ARGS="--rounds 50"
	$(VENV) -m tests.crash $(CRASH_ARGS)

fuzz: .venv/.dev .venv/tools/.fuzz ## attack a served Easel with generated requests; FUZZ_ARGS="--seconds 300"
	$(VENV) -m tests.fuzz $(FUZZ_ARGS)

audit: .venv/tools/.audit ## check the pinned versions against PyPI's advisories
	$(VENV) -m scripts.audit

sbom: .venv/tools/.audit ## list the installed packages in build/sbom.json (CycloneDX)
	@mkdir -p build
	.venv/tools/bin/cyclonedx-py environment .venv --pyproject pyproject.toml --output-reproducible -o build/sbom.json

# No find-links and no extra index: the lock must work on every machine. No CUDA packages either: torch
# requires exact versions of them, which differ between its CUDA builds.
lock: .venv/.dev ## rewrite constraints.txt; LOCK_ARGS=--upgrade for newer versions
	echo torch==$(TORCH) | env -u UV_FIND_LINKS -u UV_INDEX -u UV_EXTRA_INDEX_URL \
		UV_CUSTOM_COMPILE_COMMAND="make lock" \
		.venv/bin/uv pip compile pyproject.toml --group dev --constraints - --universal \
		--python-version 3.11 --no-annotate $(LOCK_ARGS) --output-file constraints.txt
	sed -i.bak -E '/^(nvidia-|cuda-|triton==)/d' constraints.txt && rm constraints.txt.bak

vendor: .venv/.dev ## fetch the page's libraries and font from npm, as locked; VENDOR_ARGS=--update for other versions
	$(VENV) -m scripts.vendor $(VENDOR_ARGS)

clean: ## remove .venv, caches and builds; never data
	rm -rf .venv build dist *.egg-info .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .times
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.runtime: pyproject.toml constraints.txt scripts/install.py
	@$(PYTHON) scripts/install.py
	@touch $@

.venv/.dev: .venv/.runtime
	@$(PYTHON) scripts/install.py --dev
	@touch $@

.venv/.backends: .venv/.dev
	@$(PYTHON) scripts/install.py --backends
	@touch $@

.venv/tools/.%: .venv/.runtime pyproject.toml
	@$(PYTHON) scripts/install.py --tools $*
	@touch $@
