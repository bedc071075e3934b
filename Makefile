# P59: every target sets up what it needs. `make demo` and `make test` are the two to know.
PYTHON ?= .venv/bin/python
BASE_PYTHON ?= python3
DEMO ?= out/demo
FUZZ_COUNT ?= 1000000
FUZZ_SECONDS ?= 600
DATA ?= images/
space := $(subst ,, )
comma := ,

.PHONY: help setup demo test test-slow evaluate tables lint format fuzz fuzz-guided clean

help:
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

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

test-slow: setup ## run the tests that `make test` leaves out for their time
	$(PYTHON) -m pytest -m slow

evaluate: setup ## compare with other codecs on the folders DATA; fills results/ and the tables of the README
	$(PYTHON) main.py configs/evaluate.json 'test_data=["$(subst $(space),"$(comma)",$(strip $(DATA)))"]'
	$(PYTHON) main.py configs/tables.json

tables: setup ## fill the tables of the README from results/
	$(PYTHON) main.py configs/tables.json

lint: setup ## check style
	$(PYTHON) -m ruff check . && $(PYTHON) -m ruff format --check .

format: setup ## apply style
	$(PYTHON) -m ruff check --fix . && $(PYTHON) -m ruff format .

fuzz: setup ## mutated files through the decoder, FUZZ_COUNT of them
	$(PYTHON) -m tests.fuzz.mutate --count $(FUZZ_COUNT)

fuzz-guided: setup ## coverage-guided fuzzing of the decoder with atheris, FUZZ_SECONDS long
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --target out/atheris atheris==3.0.0
	mkdir -p out/fuzz
	PYTHONPATH=out/atheris $(PYTHON) -m tests.fuzz.guided out/fuzz/corpus -max_total_time=$(FUZZ_SECONDS) \
	  -max_len=300 -timeout=1 -rss_limit_mb=2000 -artifact_prefix=out/fuzz/ -verbosity=1

clean: ## remove what was built and written, but not .venv
	rm -rf out build .pytest_cache .ruff_cache .hypothesis

-include coders/native/native.mk
