# make demo            synthetic faces from the weights that come along, into runs/demo, in minutes
# make demo-irises     the same with synthetic irises, into runs/demo-irises
# make demo-train      the whole way on synthetic faces from nothing, into runs/demo-train
# make demo-irises-train   the same with synthetic irises
# make weights         train what comes along anew, into runs and began_jax/weights, in hours
# make test | test-all | quick   the tests; those that take a minute each too; the quick part of them
# make lint            ruff and pyright
# make environment     what tests need, into .venv, and no test
# make test-lowest     a tiny run of all stages on the lowest versions that requirements.txt allows
# make test-wheel      the same by the wheel, installed outside of this folder
# make docs            the site, into site/; make notebook runs the paper's figures again, into docs/figures.ipynb
# make eye-network     train what --annotator eyes is, in half an hour
# make bench           our stages beside PyTorch's, under 25 minutes, into runs/bench
# make PYTHON=python3.13 VENV=.venv313 ...   with another Python
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
# Python compiles what is imported, and most of it never is; each process would do it again if it might not keep that.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
# With the system's certificates, to which a network of one's own may have added.
UV := UV_NATIVE_TLS=1 $(BIN)/uv
# Named after Python's version, so that another PYTHON makes the environment anew.
MADE := $(VENV)/made-$(VERSION)
READY := $(VENV)/ready-$(VERSION)
READY_TEST := $(VENV)/ready-test-$(VERSION)
READY_BENCH := $(VENV)/ready-bench-$(VERSION)
READY_DOCS := $(VENV)/ready-docs-$(VERSION)
# Never made, so that each call builds anew.
WHEEL := $(VENV)-dist/wheel

# Files of tests side by side, one more than there are cores, since processes that tests start are waited for; what a
# file's tests share is made once (tests/conftest.py).
SIDE_BY_SIDE = -n $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1) --dist loadfile --no-loadscope-reorder

# numpy's own threads would only be in each other's way.
ALONE = OPENBLAS_NUM_THREADS=1

.PHONY: demo demo-irises demo-train demo-irises-train weights environment test test-all quick test-entries test-lowest test-wheel lint format bench docs notebook eye-network clean

demo: PRESET = synthetic-faces
demo: IMAGES = 768
demo-irises: PRESET = synthetic-irises
demo-irises: IMAGES = 512
# A part of the training images is inverted, and all held-out ones.
demo demo-irises: $(READY)
	$(BIN)/python train.py $(PRESET) --run runs/$@ --pretrained
	$(BIN)/python invert.py --run runs/$@ --images $(IMAGES)
	$(BIN)/python aspect.py --run runs/$@
	$(BIN)/python generate.py --run runs/$@ --count 1000 --out runs/$@/generated
	$(BIN)/python evaluate.py --run runs/$@ --consistency 0

demo-train: RECIPE = combined
demo-train: GENERATED = --epochs 100
demo-irises-train: RECIPE = combined-mask
demo-irises-train: GENERATED = --labels 2000 --epochs 20
# What 50 annotated images, and pairs, are worth to an ordinary network, in a few minutes (docs/downstream.md).
demo-irises-train: WORTH = --downstream 50 --seeds 1 --student-steps 600 --pairs 2000
demo-train: WORTH = --downstream 50 --seeds 1 --student-steps 600 --pairs 2000 --student regression
# Two aspect networks: one learns T(G(z)), for new images; one T(x), for held-out ones.
demo-train demo-irises-train: $(READY)
	$(BIN)/python train.py $(@:-train=) --run runs/$@
	$(BIN)/python invert.py --run runs/$@
	$(BIN)/python aspect.py --run runs/$@ --target generated $(GENERATED)
	$(BIN)/python aspect.py --run runs/$@
	$(BIN)/python generate.py --run runs/$@ --aspect $(RECIPE)-generated --count 1000 --out runs/$@/generated
	$(BIN)/python evaluate.py --run runs/$@ $(WORTH)

weights: $(READY)
	for name in synthetic-faces synthetic-irises; do \
	  $(BIN)/python train.py $$name --run runs/$$name && $(BIN)/python invert.py --run runs/$$name && \
	  $(BIN)/python aspect.py --run runs/$$name --closed-form none && $(BIN)/python evaluate.py --run runs/$$name --consistency 0 && \
	  rm -rf began_jax/weights/$$name && \
	  $(BIN)/python -m began_jax.run.weights --run runs/$$name --out began_jax/weights/$$name || exit 1; \
	done

environment: $(READY_TEST)

test: $(READY_TEST)
	$(ALONE) $(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not long"

test-all: $(READY_TEST)
	$(ALONE) $(BIN)/python -m pytest $(SIDE_BY_SIDE)

quick: $(READY_TEST)
	$(ALONE) $(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not slow"

# What depends on JAX's version the most: all stages with what they write, and what is killed and goes on.
ON_EACH_JAX = (every_stage or latents_are or generated_ or evaluations or killed) and not irises
test-entries: $(READY_TEST)
	$(ALONE) $(BIN)/python -m pytest $(SIDE_BY_SIDE) tests/test_entries.py -k "$(ON_EACH_JAX)"

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

docs: $(READY_DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

notebook: $(READY_DOCS)
	$(BIN)/python docs/site/notebook.py

eye-network: $(READY)
	$(BIN)/python -m benchmarks.eye_network --out began_jax/weights/eyes.npz

$(MADE): requirements.txt pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	touch $@

$(READY): $(MADE)
	$(INSTALL) -e .
	touch $@

# With what it asks for besides what we call, Orbax would be an older one than users have.
ONNX = jax2onnx

# By uv, which takes half a minute where pip takes more than one.
$(READY_TEST): $(MADE)
	$(INSTALL) uv
	$(UV) pip install --quiet --python $(BIN)/python -e '.[test]'
	test "$(VERSION)" != 3.11 || $(UV) pip install --quiet --no-deps --python $(BIN)/python $(ONNX)
	touch $(READY) $@

$(READY_BENCH): $(MADE)
	$(INSTALL) -e '.[bench]'
	touch $(READY) $@

$(READY_DOCS): $(READY)
	$(INSTALL) -e '.[docs]'
	touch $@

clean:
	rm -rf site $(VENV) $(VENV)-dist $(VENV)-test-lowest $(VENV)-test-wheel
