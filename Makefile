# Set-up and the two jobs a newcomer wants. `make quickstart`, `make test`; the rest is for work.
VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || echo python3)
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# As many processes as tests/conftest.py finds cores and memory for; `make test WORKERS=` takes one.
WORKERS ?= -n auto --dist loadfile --no-loadscope-reorder

.PHONY: quickstart test check format setup samples bases clean

quickstart: setup  ## base model -> sft -> dpo -> merge -> one table, on the embedded default
	$(BIN)/finetune run recipes/samsum.yaml

test: setup  ## everything but what needs an accelerator
	$(BIN)/python -m pytest $(WORKERS)

check: setup  ## linter, formatter and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(READY)

samples: setup  ## write the embedded samples anew; the files do not change
	$(BIN)/python data/make_samsum.py
	$(BIN)/python data/make_text_to_sql.py
	$(BIN)/python data/make_corpus.py --out src/finetune/assets/samples/corpus/train.jsonl.gz
	$(BIN)/python data/make_corpus.py --out src/finetune/assets/samples/corpus/drill.jsonl.gz --mixture drill

bases: setup  ## train the embedded bases anew (hours)
	$(BIN)/finetune run recipes/pretrain_tiny_mistral.yaml
	$(BIN)/finetune run recipes/pretrain_tiny_mpt.yaml
	$(BIN)/python data/ship_base.py recipes/pretrain_tiny_mistral.yaml tiny-mistral
	$(BIN)/python data/ship_base.py recipes/pretrain_tiny_mpt.yaml tiny-mpt

clean:
	rm -rf $(VENV) runs build dist
