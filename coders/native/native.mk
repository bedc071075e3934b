# The native core: included by the Makefile, which sets PYTHON.

# Build the extension and install it where PYTHON finds it.
native:
	$(PYTHON) -m pip install --quiet ./coders/native

.PHONY: native
