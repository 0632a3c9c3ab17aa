# make demo            the whole way on synthetic faces, into runs/demo
# make demo-irises     the whole way on synthetic irises, into runs/demo-irises
# make test | quick    the tests; the quick part of them, under 90 seconds
# make lint            ruff and pyright
# make test-lowest     a tiny run of all stages on the lowest versions that requirements.txt allows
# make test-wheel      the same by the wheel, installed outside of this folder
# make bench           our stages beside PyTorch's, under 25 minutes, into runs/bench
# make PYTHON=python3.13 VENV=.venv313 ...   with another Python
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# With the system's certificates, to which a network of one's own may have added.
UV := UV_NATIVE_TLS=1 $(BIN)/uv
# Named after Python's version, so that another PYTHON makes the environment anew.
MADE := $(VENV)/made-$(VERSION)
READY := $(VENV)/ready-$(VERSION)
READY_TEST := $(VENV)/ready-test-$(VERSION)
READY_BENCH := $(VENV)/ready-bench-$(VERSION)
# Never made, so that each call builds anew.
WHEEL := $(VENV)-dist/wheel

# Files of tests side by side, a core each; what a file's tests share is made once (tests/conftest.py).
SIDE_BY_SIDE = -n auto --dist loadfile --no-loadscope-reorder

.PHONY: demo demo-irises test quick test-entries test-lowest test-wheel lint format bench clean

demo: RECIPE = regularised
demo: GENERATED = --epochs 100
demo-irises: RECIPE = regularised-mask
demo-irises: GENERATED = --labels 2000 --epochs 20
# Two aspect networks: one learns T(G(z)), for new images; one T(x), for held-out ones.
demo demo-irises: $(READY)
	$(BIN)/python train.py $@ --run runs/$@
	$(BIN)/python invert.py --run runs/$@
	$(BIN)/python aspect.py --run runs/$@ --target generated $(GENERATED)
	$(BIN)/python aspect.py --run runs/$@
	$(BIN)/python generate.py --run runs/$@ --aspect $(RECIPE)-generated --count 1000 --out runs/$@/generated
	$(BIN)/python evaluate.py --run runs/$@

test: $(READY_TEST)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

quick: $(READY_TEST)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not slow"

test-entries: $(READY_TEST)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) tests/test_entries.py tests/test_train_entry.py

# By way of a source archive, so that no file of an earlier build gets into the wheel.
$(WHEEL): $(READY_TEST)
	rm -rf $(VENV)-dist
	$(UV) build --quiet --out-dir $(VENV)-dist .

test-lowest: RESOLUTION = lowest-direct
test-wheel: RESOLUTION = highest
test-lowest test-wheel: $(WHEEL)
	rm -rf $(VENV)-$@
	$(UV) venv --quiet --python $(BIN)/python $(VENV)-$@
	$(UV) pip install --quiet --python $(VENV)-$@/bin/python --resolution $(RESOLUTION) $(VENV)-dist/*.whl
	$(VENV)-$@/bin/python tests/tiny_run.py

lint: $(READY_TEST)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(READY_TEST)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY_BENCH)
	$(BIN)/python -m benchmarks --out runs/bench

$(MADE): requirements.txt pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	touch $@

$(READY): $(MADE)
	$(INSTALL) -e .
	touch $@

$(READY_TEST): $(MADE)
	$(INSTALL) -e '.[test]'
	touch $(READY) $@

$(READY_BENCH): $(MADE)
	$(INSTALL) -e '.[bench]'
	touch $(READY) $@

clean:
	rm -rf $(VENV) $(VENV)-dist $(VENV)-test-lowest $(VENV)-test-wheel
