# `make demo` and `make test` do all of their own set-up; the second call skips it.
# PYTHON=python3.11 names the interpreter that the virtual environment is made with.
PYTHON ?= $(shell command -v python3.11 || echo python3)
BIN := .venv/bin

# Writes a lock with the hashes of every wheel and source archive, for every machine; it names no package index.
COMPILE = CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/pip-compile --quiet --strip-extras --allow-unsafe \
	--generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options \
	--build-deps-for editable $(if $(UPGRADE),--upgrade)

.PHONY: help demo test bench fmt lock clean set-up-run set-up-test

help:
	@echo 'make demo           the gateway, four simulated carriers and an application, at work (SERVE=1 stays up)'
	@echo 'make test           format, lint, strict types, tests'
	@echo 'make bench          the standard scenarios, one JSON line each'
	@echo 'make fmt            formats, and mends what the linter can mend'
	@echo 'make lock           writes the lock files anew from pyproject.toml (UPGRADE=1: newest versions)'
	@echo 'make clean          removes what make made'

demo: set-up-run
	@$(BIN)/jingxin demo $(if $(filter-out 0,$(SERVE)),--serve)

test: set-up-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses=auto --dist=worksteal --ignore=tests/integration --ignore=tests/bench
	$(BIN)/pytest tests/integration tests/bench

bench: set-up-run
	@$(BIN)/python -m bench

fmt: set-up-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: set-up-test
	$(COMPILE) --output-file requirements.lock pyproject.toml
	$(COMPILE) --extra test --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml
	@if grep -nE '://|^ *-(-[a-gi-z]|[a-z])' requirements.lock requirements-dev.lock; \
		then echo 'make lock: the lines above name a place: take them out' >&2; exit 1; fi

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

set-up-run set-up-test: set-up-%:
	@PYTHON='$(PYTHON)' ./set-up $*
