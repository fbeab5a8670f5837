# `make demo` and `make test` do all the set-up on a fresh machine; nothing else is needed first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made
DEV_STAMP := $(VENV)/.made-dev

.PHONY: demo test test-build lint docs bench clean

demo: $(STAMP)
	@$(BIN)/gpubox demo

test: $(DEV_STAMP)
	@# A file's tests stay together: they may share a box. More workers than four would want more memory than most have.
	@$(BIN)/pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Compiles with real compilers and fetches gigabytes: not part of `make test`. docs/builds.md says what it takes.
test-build: $(DEV_STAMP)
	@nice -n 5 $(BIN)/pytest -m build --timeout=5400 -o log_cli=true -o log_cli_level=INFO

lint: $(DEV_STAMP)
	@$(BIN)/ruff check py_tools tests benchmarks roles
	@$(BIN)/ruff format --check py_tools tests benchmarks roles
	@$(BIN)/mypy
	@$(BIN)/yamllint --strict .
	@$(BIN)/ansible-lint --offline -q
	@$(BIN)/shellcheck $$(git ls-files '*.sh' .ci/run)

docs: $(DEV_STAMP)
	@$(BIN)/python py_tools/make_docs.py

bench: $(DEV_STAMP)
	@$(BIN)/pip install --quiet -c constraints.txt --group bench
	@# pyinfra wants an older paramiko than gpubox: an environment of its own.
	@test -x $(VENV)/pyinfra/bin/pyinfra || { $(PYTHON) -m venv $(VENV)/pyinfra && $(VENV)/pyinfra/bin/pip install --quiet pyinfra==3.10.0; }
	@# modelscope and huggingface_hub are what model_download compares with; aria2c too, where apt has put it.
	@test -x $(VENV)/downloads/bin/hf || { $(PYTHON) -m venv $(VENV)/downloads && $(VENV)/downloads/bin/pip install --quiet modelscope==1.40.2 huggingface_hub==2.4.0; }
	@$(BIN)/python -m benchmarks.run --write

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "gpubox needs Python 3.11 or newer; name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "no venv: apt-get install python3-venv" >&2; exit 1; }

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing gpubox into $(VENV)"
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(BIN)/pip install --quiet --compile -c constraints.txt -e .
	@touch $@

$(DEV_STAMP): $(STAMP)
	@$(BIN)/pip install --quiet -c constraints.txt --group dev
	@touch $@
