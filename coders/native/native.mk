# The native core: included by the Makefile, which sets PYTHON.

NATIVE_OUT ?= out/native
NATIVE_IMAGES ?= 2000
NATIVE_EMULATED_IMAGES ?= 200
NATIVE_COMPILER ?= g++

native: ## build the native core and install it where PYTHON finds it
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps ./coders/native

# The module built with a sanitizer lies apart and is found first; Python itself is not built with it, so the
# sanitizer's library is loaded ahead. Python and its packages keep memory until they end, hence no leak check.
define native_sanitized
rm -rf $(NATIVE_OUT)/$(1)
$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --target $(NATIVE_OUT)/$(1) \
  --config-settings=cmake.define.P59_SANITIZE=$(2) ./coders/native
LD_PRELOAD="$(foreach library,$(3),$$($(NATIVE_COMPILER) -print-file-name=$(library)))" \
  PYTHONPATH=$(NATIVE_OUT)/$(1) ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
  $(PYTHON) -m pytest tests/test_native.py tests/test_native_fitting.py tests/test_native_training.py tests/test_batched.py \
  tests/test_batched_failures.py tests/test_batched_memory.py -k "$(4)"
endef

native-sanitize: setup ## the native tests with address and undefined behaviour sanitizers
	$(call native_sanitized,address,address$(comma)undefined,libasan.so libubsan.so,not interrupt and not missing)

native-fuzz-equal: setup ## compare native and PyTorch paths on thousands of random images
	for set in $$($(PYTHON) -c 'from coders import native; print(*native.instruction_sets())'); do \
	  P59_INSTRUCTION_SET=$$set $(PYTHON) -m tests.native_cases --images $(NATIVE_IMAGES) || exit 1; done

native-emulated: setup ## compare with the native core cross-compiled for other processors: needs their compilers and QEMU
	$(PYTHON) -m tests.emulated --images $(NATIVE_EMULATED_IMAGES) $(PROCESSORS)

benchmark-native: setup ## seconds, shares and the fraction of the int16 ceiling; JPEG XL beside it
	$(PYTHON) -m benchmarks.native $(IMAGES)

benchmark-scaling: setup ## whether time for a pixel and memory grow with the image
	$(PYTHON) -m benchmarks.scaling $(IMAGES)

benchmark-fitting: setup ## how long a step of fitting takes in the native core and in PyTorch
	$(PYTHON) -m benchmarks.fitting $(IMAGES)

benchmark-gpu: setup ## many images at a time on a GPU, and where the time of a step goes; the native path beside it
	$(PYTHON) -m benchmarks.gpu $(IMAGES)

.PHONY: native native-sanitize native-fuzz-equal native-emulated benchmark-native benchmark-scaling benchmark-fitting \
  benchmark-gpu
