# make demo     every step on the embedded sample: no network or GPU once installed
# make test     the whole test suite
# make lint     ruff: rules and format
# make types    mypy over the public surface
# make docs     the documentation as a site, in site/
# make wheel    wheel and sdist, in dist/
# make minimum  the fast tests with the lowest version of every dependency (downloads a CUDA build of torch)
# make ci       what CI runs
# make clean    remove what the others made
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: help demo test lint types docs wheel minimum ci clean

help:
	@sed -n 's/^# make/make/p' Makefile

demo: $(VENV)/installed
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/fusion-hf demo --out demo

test: $(VENV)/installed
	$(BIN)/python -m pytest -m 'not vllm'

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed
	$(BIN)/mypy

docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

wheel: $(VENV)/installed
	$(BIN)/python -m build

minimum:
	.ci/minimum

ci:
	bash .ci/run

clean:
	rm -rf $(VENV) demo dist build site distilled .mypy_cache .pytest_cache .ruff_cache

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@
