# make demo · make test · make up · make lint: each first makes the virtual environment, if it is not there yet.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test up lint install clean

demo: install
	$(BIN)/crewflow demo

test: lint
	$(BIN)/pytest --numprocesses auto --quiet

up: install
	$(BIN)/crewflow up

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

install: $(VENV)/installed

# torch comes first and alone: once it is there, no other package's range can pull another build of it.
$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) var
