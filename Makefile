# make demo        the whole job on data that needs no download: pretrain, prune, export, profile
# make demo-segmentation  the same for a U-Net and a task of one's own, from recipes/shapes_unet.py
# make test        the tests
# make test-slow   the proofs that take minutes, before a release and when their subject changes
# make check       everything: format, lint, types, import contracts, tests with their coverage
# make check-fast  the same without the tests
# make docs        the documentation as a site, in site/
#
# Each sets up .venv first; a second call finds it ready.
# Other interpreter: make demo PYTHON=python3.12

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Two threads fall to a tenth of their speed where another process wants the same cores, one thread does not.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help install demo demo-segmentation docs test test-slow check check-fast

help:
	@sed -n 's/^# //p' Makefile | head -n 7

install: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "slimmer needs Python 3.11 or newer; name one: make PYTHON=python3.12" >&2; exit 1; }
	@echo "setting up $(VENV): about 1.5 GB, a few minutes, once"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY)
	$(BIN)/python -m slimmer.demo runs/digits_resnet8.safetensors
	$(BIN)/slimmer prune runs/digits_resnet8.safetensors --recipe digits
	$(BIN)/slimmer export --onnx
	$(BIN)/slimmer profile
	@echo "report: $$(cat runs/latest)/report.html"

demo-segmentation: $(READY)
	$(BIN)/python recipes/shapes_unet.py runs/shapes_unet.pth
	$(BIN)/slimmer prune runs/shapes_unet.pth --recipe shapes_unet --arch recipes/shapes_unet.py:unet --task recipes/shapes_unet.py:make
	$(BIN)/slimmer export
	$(BIN)/slimmer profile
	@echo "report: $$(cat runs/latest)/report.md"

test: $(READY)
	$(BIN)/python -m pytest -m 'not slow'

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

check: check-fast
	$(BIN)/python -m pytest -m 'not slow' --cov=slimmer --cov-report=
	@echo "lines of slimmer/ that the tests run, in percent: $$($(BIN)/python -m coverage report --format=total)"

check-fast: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(READY)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[docs]'
	$(BIN)/python docs/stage_pages.py build/pages
	$(BIN)/zensical build --strict --clean
