# Everything runs in .venv, which the first target that needs it sets up (Python 3.11 or later).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TORCH := $(VENV)/.torch

.PHONY: demo test lint links bench clean

demo: $(READY)  ## the main job on real text: report, chunkwise, token by token, exact verification
	$(BIN)/python examples/demo.py

test: $(READY) $(TORCH)  ## all tests; arguments for pytest in ARGS
	$(BIN)/python -m pytest -n auto $(ARGS)

lint: $(READY) links
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(READY) $(TORCH)  ## the measured figures; arguments in ARGS, such as --quick
	$(BIN)/python -m benchmarks $(ARGS)

links:  ## .typing/tensorc: the packages as they are imported, for type checkers
	@mkdir -p .typing/tensorc
	@find .typing/tensorc -type l -delete
	@for folder in grammar passes backends; do ln -s ../../$$folder .typing/tensorc/$$folder; done
	@for file in tensorc/*; do \
		case $$file in *__pycache__) ;; *) ln -s ../../$$file .typing/$$file ;; esac; done

clean:  ## caches and build output; the environment stays
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tensorc needs Python 3.11 or later; choose one with make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[test]"
	@touch $@

$(TORCH): $(READY) constraints.txt  # what cannot be installed here, its tests skip
	-$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[triton]" && touch $@
	-$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[integrations]"
	-$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[references]"
