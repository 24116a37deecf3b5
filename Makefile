# Two commands on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-full lint bench lock clean

demo: $(READY)  ## raw pages to a measured model; ends with the path of the report
	$(BIN)/skywright run recipes/laptop.yaml

test: $(READY)  ## all tests but the long ones
	$(BIN)/python -m pytest

test-full: $(READY)  ## the long kill, fuzz and layout tests too
	$(BIN)/python -m pytest -m "full or not full"

lint: $(READY)  ## style, types, floors of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)  ## measurements; each prints one line of JSON
	$(BIN)/python -m benchmarks.laptop
	$(BIN)/python -m benchmarks.tokens
	$(BIN)/python -m benchmarks.model
	$(BIN)/python -m benchmarks.train

lock: ## write constraints.txt anew from the newest versions that fit pyproject.toml
	$(PYTHON) scripts/lock.py > constraints.new && mv constraints.new constraints.txt

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(READY)

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
