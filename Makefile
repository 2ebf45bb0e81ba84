# Two commands do everything: `make demo` and `make test`.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STORE  ?= profleet-results
WORKERS ?= 2
PIP     = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# torch from the package index brings gigabytes of CUDA libraries on Linux x86-64. Only a machine
# with an NVIDIA GPU gets that; elsewhere the CPU build is asked for by its local version, which an
# index either has or refuses, so it can never turn into the CUDA one.
ifneq ($(shell command -v nvidia-smi 2>/dev/null),)
TORCH ?= torch==2.13.0
else ifeq ($(shell uname -sm),Linux x86_64)
TORCH ?= torch==2.13.0+cpu
else
TORCH ?= torch==2.13.0
endif
# Where to look for that build besides the configured index; see "Frameworks" in the README.
TORCH_INDEX ?=

.PHONY: help demo test lint types pytest wheel bench profiles dev clean

help:
	@echo "make demo    install and measure three real models under two frameworks"
	@echo "make test    lint, types and tests, from the checkout and from the built wheel"
	@echo "make bench   benchmarks of Profleet itself (ratios, minutes; leave the machine alone)"
	@echo "make profiles measure the shipped set of profiles again (one to two hours; leave the machine alone)"
	@echo "make dev     the environment that the above use, in $(VENV)"
	@echo "make clean   remove environments and build output; results stay"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Profleet needs Python 3.11 or newer; name one: make PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -q && apt-get install -qy python3-venv && $(PYTHON) -m venv $(VENV); \
	  else echo "Install the venv module first: apt-get install python3-venv"; exit 2; fi; }

$(VENV)/.runtime: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing Profleet with onnxruntime and openvino into $(VENV) ..."
	@$(PIP) -e '.[onnxruntime,openvino]'
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	@echo "Installing what the tests need ..."
	@$(PIP) --upgrade 'pip>=25.1'
	@$(PIP) --group dev -e '.[onnxruntime,openvino,joblib,submitit]'
	@touch $@

$(VENV)/.torch: $(VENV)/.dev
	@$(PIP) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) '$(TORCH)' && touch $@ || \
	  { echo "No CPU build of torch found, so its tests cannot run." \
	         "Give its index: make test TORCH_INDEX=... (README, Frameworks)"; test -z "$$CI"; }

dev: $(VENV)/.dev $(VENV)/.torch

demo: $(VENV)/.runtime
	@$(BIN)/profleet run -m model=squeezenet,resnet50,magika framework=onnxruntime,openvino \
	  measure=quick measure.budget_seconds=6 batch_sizes=[1,4] store=$(STORE)
	@echo
	@echo "Compare the runs in MLflow:  $(BIN)/profleet ui --store $(STORE)"

test: lint types pytest wheel

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: dev
	$(BIN)/mypy

pytest: dev
	$(BIN)/python -m pytest -q -n $(WORKERS)

# The wheel in an environment of its own; only the dependencies are shared, by path.
wheel: dev
	@rm -rf build/wheel && mkdir -p build/wheel
	@$(BIN)/python -m build --wheel --outdir build/wheel . >build/wheel/build.log || \
	  { cat build/wheel/build.log; exit 1; }
	@$(BIN)/python -m venv build/wheel/venv
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	  >"$$(build/wheel/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/deps.pth"
	@build/wheel/venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  build/wheel/*.whl
	@cp -r tests build/wheel/tests && cp pyproject.toml build/wheel/
	cd build/wheel && venv/bin/python -m mypy -m profleet.cli -p profleet.manifest \
	  -p profleet.model -p profleet.hardware -p profleet.execute -p profleet.profile \
	  -p profleet.report -p profleet.tracking -p profleet.container -p profleet.simulate && \
	  PROFLEET_EXPECT=wheel venv/bin/python -m pytest -q -m wheel $$(grep -rlE 'mark\.wheel' tests --include='*.py')

bench: dev
	$(BIN)/python -m pytest -q -s -m bench tests/benchmarks

# One and two threads are two kinds of hardware for a fleet. Finished jobs are not measured again.
MEASURED = framework=onnxruntime,openvino measure=quick measure.intra_op_threads=1,2 \
  measure.max_samples=700 measure.budget_seconds=40 tracking=none store=build/profiles resume=true
profiles: $(VENV)/.runtime
	$(BIN)/profleet run -m model=squeezenet,magika batch_sizes=[1,2,4,8,16,32] $(MEASURED)
	$(BIN)/profleet run -m model=resnet50 batch_sizes=[1,2,4,8] $(MEASURED)
	$(BIN)/python -m profleet.simulate.service.export build/profiles profiles

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
