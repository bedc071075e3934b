# P59: every target sets up what it needs. `make demo` and `make test` are the two to know.
PYTHON ?= .venv/bin/python
BASE_PYTHON ?= python3
DEMO ?= out/demo
DATA ?= images/
space := $(subst ,, )
comma := ,

.PHONY: help setup demo test evaluate tables lint format clean

help:
	@grep -E '^[a-z-]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | expand -t 18

setup: .venv/.ready ## install everything into .venv and build the native core

.venv/.ready: requirements.txt build-constraints.txt $(shell find coders/native -name '*.cpp' -o -name '*.hpp' -o -name CMakeLists.txt -o -name 'pyproject.toml')
	@$(BASE_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; set BASE_PYTHON"; exit 1; }
	test -x $(PYTHON) || $(BASE_PYTHON) -m venv .venv
	PIP_CONSTRAINT=build-constraints.txt PIP_BUILD_CONSTRAINT=build-constraints.txt \
	  $(PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps ./coders/native || \
	  echo "The native core could not be built; the slow PyTorch path will be used."
	touch $@

demo: setup ## encode, decode and compare real photographs in all three orders
	$(PYTHON) main.py configs/demo.json bitstream_path=$(DEMO)

test: setup ## run the tests
	$(PYTHON) -m pytest

evaluate: setup ## compare with other codecs on the folders DATA; fills results/ and the tables of the README
	$(PYTHON) main.py configs/evaluate.json 'test_data=["$(subst $(space),"$(comma)",$(strip $(DATA)))"]'
	$(PYTHON) main.py configs/tables.json

tables: setup ## fill the tables of the README from results/
	$(PYTHON) main.py configs/tables.json

lint: setup ## check style
	$(PYTHON) -m ruff check . && $(PYTHON) -m ruff format --check .

format: setup ## apply style
	$(PYTHON) -m ruff check --fix . && $(PYTHON) -m ruff format .

clean: ## remove what was built and written, but not .venv
	rm -rf out build .pytest_cache .ruff_cache .hypothesis

-include coders/native/native.mk
