# `make help` lists what there is; each first makes the virtual environment, if it is not there yet.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# What is imported is compiled then; the rest need not be.
export PIP_NO_COMPILE := 1

.PHONY: help demo test up lint rules install clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

demo: install ## fill a simulated world, train every model, ask each one question over HTTP
	$(BIN)/crewflow demo

test: rules ## linters, types, import rules and all tests
	@echo "mypy runs beside pytest and has its say after it"
	@$(BIN)/mypy > $(VENV)/mypy.txt 2>&1 & mypy=$$!; \
	$(BIN)/pytest --numprocesses auto --quiet; tests=$$?; \
	wait $$mypy; types=$$?; \
	cat $(VENV)/mypy.txt; exit $$((tests | types))

up: install ## Dagster, MLflow, the gateway and the outbox worker together; Ctrl-C stops all
	$(BIN)/crewflow up

lint: rules ## linters, types and import rules alone
	$(BIN)/mypy

rules: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

install: $(VENV)/installed ## the virtual environment alone; some minutes the first time

# torch comes first and alone: once it is there, no other package's range can pull another build of it.
$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean: ## remove the virtual environment and ./var, with all data in it
	rm -rf $(VENV) var
