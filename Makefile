# The two commands of a newcomer are `make run` and `make test`. PYTHON is any Python >= 3.11.
PYTHON ?= python3
BIN := .venv/bin
# The least percentage of branch coverage: of the pure core, of everything.
LEAST_CORE_COVERAGE ?= 98
LEAST_COVERAGE ?= 92
# How long atheris looks for faults, all parsers together, on all cores.
FUZZ_SECONDS ?= 600
.DEFAULT_GOAL := help
.PHONY: help run test lint format docs dist sbom bench bench-check fuzz clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

# Set up anew whenever what is wanted has changed; a half-made environment is never taken for one.
.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("regshim needs Python 3.11 or newer; try: make PYTHON=python3.12 " if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,docs,fuzz,otel,redis,release,uvloop]'
	@touch $@

run: .venv/.ready ## serve in front of an embedded sample registry, or with CONFIG=file that config
ifdef CONFIG
	@$(BIN)/regshim serve --config '$(CONFIG)'
else
	@$(BIN)/regshim serve --sample $(if $(PORT),--port $(PORT))
endif

lint: .venv/.ready ## format check, ruff, mypy, import-linter
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test: lint ## lint, then all tests; peers that are missing are skipped with a reason
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --include='proxy/spec/*,proxy/manifest/*,proxy/translate/*' --fail-under=$(LEAST_CORE_COVERAGE) > .coverage-core.txt \
		|| { cat .coverage-core.txt; echo 'branch coverage of the pure core is under $(LEAST_CORE_COVERAGE) %'; exit 1; }
	@$(BIN)/coverage report --fail-under=$(LEAST_COVERAGE)

format: .venv/.ready ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/.ready ## build the documentation into site/, its configuration page anew
	$(BIN)/python -m tools.configuration_page
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

dist: .venv/.ready ## make sdist and wheel in dist/
	rm -rf dist
	$(BIN)/python -m build --outdir dist

sbom: dist ## list what an installed wheel consists of: dist/*.cdx.json (CycloneDX)
	$(BIN)/python -m tools.sbom dist

bench: .venv/.ready ## measure, briefly or with LONG=1 as in docs/performance.md; prints tables, writes nothing
	$(BIN)/python -m bench $(if $(LONG),--long)

bench-check: .venv/.ready ## measure ratios and fail if one got worse than bench/baseline.json by 15 %
	$(BIN)/python -m bench.guard $(if $(WRITE),--write)

fuzz: .venv/.ready ## fuzz every parser for 10 minutes, then the long run of the property tests
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)
	$(BIN)/python -m tests.fuzz.measure
	REGSHIM_HYPOTHESIS_PROFILE=fuzz REGSHIM_FUZZ_EXAMPLES=1000 $(BIN)/pytest tests/fuzz/test_targets.py \
		tests/manifest tests/spec tests/translate --deselect tests/translate/test_reference.py
	REGSHIM_FUZZ_EXAMPLES=5000 $(BIN)/pytest tests/translate/test_reference.py

clean: ## remove what the targets made
	rm -rf .venv .peers .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist site *.egg-info
