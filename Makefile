# make demo   the whole factory on the embedded sample: no network or GPU once installed
# make test   the whole test suite
# make lint   ruff
# make ci     what CI runs
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: demo test lint ci clean

demo: $(VENV)/installed
	HF_HUB_OFFLINE=1 $(BIN)/fusion-hf demo --out demo

test: $(VENV)/installed
	$(BIN)/python -m pytest -m 'not vllm'

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

ci:
	bash .ci/run

clean:
	rm -rf $(VENV) demo dist build

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@
