# The two commands: `make check` (from nothing to a verdict) and `make test`.
# Everything is installed into .venv; nothing else on the machine is touched but the model cache.

PYTHON ?= python3
MODEL  ?= qwen2.5-coder-0.5b
OUT    ?= lichen-out
VENV   := .venv
BIN    := $(VENV)/bin
NATIVE := CMakeLists.txt $(shell find native -type f)
PACKAGE := pyproject.toml $(NATIVE) $(shell find src -type f -not -name '*.so' -not -path '*/__pycache__/*')

# Modules are compiled when they are first imported; without that kept, every process would do it again, which takes
# half a second for lichen and what it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help check test lint wheel sanitize arm humaneval peers agreement harness statistics llama-cpp export-check study kquants kills sandbox-rate speculation clean

help:
	@echo "make check   install, fetch $(MODEL), quantize it to int8, verify it, write the report"
	@echo "make test    install what the tests need and run them all"
	@echo "make lint    ruff and mypy --strict"
	@echo "make wheel   build a wheel into dist/ and try it in a clean environment"
	@echo "make sanitize  the core's own tests under the address, undefined-behaviour and thread sanitizers"
	@echo "make arm     the core for aarch64, cross-compiled and run under an emulator"
	@echo "make humaneval       HumanEval on $(MODEL), original against int8 (minutes)"
	@echo "make peers           llama.cpp, OpenVINO, transformers, torch beside lichen, same weights (minutes)"
	@echo "make harness         HumanEval's own harness and the sandbox on the same samples (minutes)"
	@echo "make agreement       the int8 folder in lichen and in transformers (a minute)"
	@echo "make statistics      simulate how often the verdict errs (seconds)"
	@echo "make llama-cpp       the same prompts through llama.cpp (TASKS=humaneval; an hour)"
	@echo "make study           the quantization study: schemes x solvers on MODEL, table and plots (three hours and more)"
	@echo "make kills           quantize MODEL, killed ten times on the way: the same bytes (minutes)"
	@echo "make kquants         llama.cpp's own formats of MODEL: size and divergence (half an hour)"
	@echo "make export-check    exported GGUF files in llama.cpp and in lichen: the same tokens (minutes)"
	@echo "make sandbox-rate    programs judged in a second, quiet and under load, and what 10,000 leave"
	@echo "make speculation     decoding with and without guesses, on a dozen rewrites and a dozen others (minutes)"
	@echo "make clean   remove what make has made here (not the model cache)"

check: $(VENV)/.installed
	@echo "== fetching $(MODEL) (nothing to do when it is already in the cache)"
	$(BIN)/lichen models fetch $(MODEL)
	@echo "== checking $(MODEL): original against int8"
	@$(BIN)/lichen check $(MODEL) --out $(OUT); status=$$?; \
	case $$status in \
		0) ;; \
		1|3) echo "== lichen ended with $$status, which is a verdict, not a failure" ;; \
		*) exit $$status ;; \
	esac

# Three at once on two processors, since many wait for processes and the disk.
test: $(VENV)/.test $(VENV)/.cmake
	@echo "== running the tests"
	$(BIN)/python -m pytest -n 3 --dist worksteal

lint: $(VENV)/.lint
	$(BIN)/ruff check src tests bench
	$(BIN)/ruff format --check src tests bench
	$(BIN)/mypy

wheel: $(VENV)/.venv
	@echo "== building a wheel"
	rm -rf dist build/wheel-test
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	@echo "== trying it in a clean environment"
	$(PYTHON) -m venv build/wheel-test
	build/wheel-test/bin/python -m pip install --quiet dist/*.whl
	cd build/wheel-test && bin/lichen --version && bin/lichen doctor
	@ls -l dist

sanitize: $(VENV)/.cmake
	@for kinds in address,undefined thread; do \
		build=build/sanitize-$${kinds%,*}; \
		echo "== building the core with -fsanitize=$$kinds"; \
		$(BIN)/cmake -S . -B $$build -DLICHEN_PYTHON=OFF -DLICHEN_NATIVE_TESTS=ON \
			-DLICHEN_SANITIZE=$$kinds > /dev/null \
		&& $(BIN)/cmake --build $$build --parallel 2 > /dev/null \
		&& $(BIN)/ctest --test-dir $$build --output-on-failure || exit 1; \
	done

arm: $(VENV)/.test $(VENV)/.cmake
	$(BIN)/python -m pytest tests/native/test_cross.py

humaneval: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet 'lichen[humaneval]'
	$(BIN)/lichen models fetch $(MODEL)
	$(BIN)/lichen check $(MODEL) --tasks humaneval --robustness 0 --out $(OUT)-humaneval

# PEER_ISA="avx2": also lichen with LICHEN_ISA=avx2 against a llama.cpp built for AVX2 alone; likewise
# avx512_vnni where there is AMX, or both.
PEER_ISA ?=
PEERS_OUT ?= build/peers

peers: $(VENV)/.installed build/peers/venv/.installed build/llama-cpp/.installed \
		$(PEER_ISA:%=build/llama-cpp-%/.installed)
	$(BIN)/lichen models fetch $(MODEL)
	$(BIN)/python -m bench.peers $(MODEL) --out $(PEERS_OUT) $(PEER_ISA:%=--isa %) $(PEER_ARGS)

build/peers/venv/.installed:
	@echo "== installing the peers in an environment of their own"
	$(PYTHON) -m venv build/peers/venv
	build/peers/venv/bin/python -m pip install --quiet 'gguf>=0.17' 'openvino-genai>=2026.0' \
		'torch==2.13.0' 'transformers>=4.56'
	@touch $@

agreement: $(VENV)/.test $(OUT)-int8
	$(BIN)/python bench/agreement.py $(OUT)-int8

harness: $(VENV)/.test
	$(BIN)/python bench/harness.py

$(OUT)-int8: | $(VENV)/.installed
	$(BIN)/lichen models fetch $(MODEL)
	$(BIN)/lichen quantize $(MODEL) --recipe int8 --out $@

statistics: $(VENV)/.installed
	$(BIN)/python bench/simulation.py

# Built for what this processor has, by name: with GGML_NATIVE, gcc 12 drops the stores of the AMX tile
# configuration, and the first prompt ends in SIGILL. tile_config.h says to the compiler what is read.
LLAMA_AVX512 := -DGGML_AVX512=ON -DGGML_AVX512_VNNI=ON -DGGML_AVX512_VBMI=ON
LLAMA_AMX := -DGGML_AVX512_BF16=ON -DGGML_AMX_TILE=ON -DGGML_AMX_INT8=ON -DGGML_AMX_BF16=ON \
	-DCMAKE_CXX_FLAGS='-include $(CURDIR)/bench/peer/tile_config.h'
LLAMA_CMAKE ?= -DGGML_NATIVE=OFF $(if $(shell grep -om1 avx512_vbmi /proc/cpuinfo 2>/dev/null),$(LLAMA_AVX512)) \
	$(if $(shell grep -om1 amx_int8 /proc/cpuinfo 2>/dev/null),$(LLAMA_AMX))
TASKS ?= humaneval

llama-cpp: $(VENV)/.installed build/llama-cpp/.installed
	$(BIN)/lichen models fetch $(MODEL)
	$(BIN)/python bench/llama_cpp.py $(MODEL) --tasks $(TASKS) $(if $(RUN),--run $(RUN))

export-check: $(VENV)/.installed build/llama-cpp/.installed
	test -e $(MODEL) || $(BIN)/lichen models fetch $(MODEL)
	$(BIN)/python bench/export.py $(MODEL) --type auto --type F16 --type Q8_0 --type Q6_K --type Q4_K \
		--type Q4_1 --type Q4_0

# MODEL should be a folder in full precision: weights of a GGUF file lie on a grid already.
STUDY_OUT ?= build/study
STUDY_ARGS ?=

study: $(VENV)/.test
	$(BIN)/python -m bench.study $(MODEL) --out $(STUDY_OUT) $(STUDY_ARGS)

KQUANTS_ARGS ?=

kquants: $(VENV)/.installed build/llama-cpp/.installed
	$(BIN)/python -m bench.kquants $(MODEL) $(KQUANTS_ARGS)

KILLS_ARGS ?=

kills: $(VENV)/.installed
	rm -rf build/kills
	$(BIN)/python -m bench.kills $(MODEL) $(KILLS_ARGS)

build/llama-cpp/.installed:
	$(call llama,build/llama-cpp,$(LLAMA_CMAKE))

build/llama-cpp-avx512_vnni/.installed:
	$(call llama,build/llama-cpp-avx512_vnni,-DGGML_NATIVE=OFF $(LLAMA_AVX512))

build/llama-cpp-avx2/.installed:
	$(call llama,build/llama-cpp-avx2,-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_AVX512=OFF)

# $(call llama,FOLDER,CMAKE_ARGS).  Not from pip's cache, which does not know the flags apart.
define llama
	@echo "== building llama.cpp in $(1) (minutes)"
	$(PYTHON) -m venv $(1)
	CMAKE_ARGS="$(2)" $(1)/bin/python -m pip install --quiet --no-cache-dir \
		--no-binary llama-cpp-python 'llama-cpp-python==0.3.36'
	@touch $(1)/.installed
endef

speculation: $(VENV)/.test $(OUT)-int8
	$(BIN)/python -m bench.speculation $(OUT)-int8

sandbox-rate: $(VENV)/.test
	$(BIN)/python -m bench.sandbox --load 4
	$(BIN)/python -m bench.sandbox --soak 10000

$(VENV)/.venv:
	@echo "== creating $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "lichen needs Python 3.11 or newer; set PYTHON=/path/to/python3"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.venv $(PACKAGE)
	@echo "== installing lichen (this compiles its native core)"
	$(BIN)/python -m pip install --quiet --no-compile .
	@touch $@

# What lichen is already there for, not '.[test]', for which pip would compile it once more.
$(VENV)/.test: $(VENV)/.installed
	@echo "== installing what the tests need"
	$(BIN)/python -m pip install --quiet --no-compile 'lichen[test]'
	@touch $@

$(VENV)/.cmake: $(VENV)/.venv
	$(BIN)/python -m pip install --quiet 'cmake>=3.21'
	@touch $@

$(VENV)/.lint: $(VENV)/.installed
	@echo "== installing the linters"
	$(BIN)/python -m pip install --quiet --no-compile 'lichen[lint]'
	@touch $@

clean:
	rm -rf $(VENV) build dist $(OUT) $(OUT)-* .mypy_cache .ruff_cache .pytest_cache .hypothesis
