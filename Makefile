PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=
DRIVER_TESTS := $(addprefix tests/firmware/test_,at.py families.py quectel.py cinterion.py refusals.py)
MEMORY_TESTS := tests/firmware $(addprefix tests/system/test_,first_light.py streaming.py memory.py names.py rollback.py)
TS48 ?= $(wildcard ../shared/data/ts48/ts48-v7-nobertlv.der)

.PHONY: demo bill field cuts kills test test32 micropython32 heap-needed soak tls-memory mip-packages coverage hil hil-rack load conformance \
	fuzz mutants docs package lock bench lint clean

demo: $(STAMP)
	$(BIN)/microipa demo $(ARGS)

bill: $(STAMP)
	$(BIN)/microipa bill $(if $(TS48),--ts48 $(TS48))

field: $(STAMP)
	$(BIN)/microipa field $(ARGS)

test: $(STAMP)
	$(BIN)/pytest $(ARGS)

# A MicroPython with 32-bit words, on which memory is what it is on a chip: make test MICROPYTHON=$(make -s micropython32)
micropython32: $(STAMP)
	@$(BIN)/python tools/micropython32.py .micropython32

# The firmware and what it takes of memory, on that program.
test32: $(STAMP)
	program=$${MICROPYTHON:-$$($(MAKE) -s micropython32)} && MICROPYTHON=$$program $(BIN)/pytest $(MEMORY_TESTS) $(ARGS)

# The smallest heaps, by form and protocols, into firmware/README.md; takes half an hour. ARGS=--table: without measuring.
heap-needed: $(STAMP)
	program=$${MICROPYTHON:-$$($(MAKE) -s micropython32)} && MICROPYTHON=$$program $(BIN)/python tools/heap_needed.py $(ARGS)

# 300 polls with 30 downloads in little heap: make soak ARGS='--polls 1000 --form romfs'
soak: $(STAMP)
	program=$${MICROPYTHON:-$$($(MAKE) -s micropython32)} && MICROPYTHON=$$program $(BIN)/python tools/soak.py $(ARGS)

# What Mbed TLS takes of memory for an association, counted while a board works; needs gcc
tls-memory: $(STAMP)
	$(BIN)/python tools/tls_memory.py

# The packages for mip, of the whole assistant and by component (host/microipa/board/components.py)
mip-packages: $(STAMP)
	$(BIN)/python tools/mip_packages.py

# The drivers' tests once more, under CPython, which can count lines. Whether a driver works is told by MicroPython.
coverage: $(STAMP)
	$(BIN)/coverage erase
	$(BIN)/pytest --interpreter cpython $(DRIVER_TESTS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

hil: $(STAMP)
	$(BIN)/pytest -n 5 --dist loadgroup --timeout=600 --pyargs microipa.hil --bench host/microipa/hil/virtual.toml --run=hil-run $(ARGS)

hil-rack: $(STAMP)
	$(BIN)/python tests/hil/rack.py .lab/rack --by rfc2217 --suite --run=hil-rack $(ARGS)

# What the eIM's operations cost a server, by the size of its fleet: make load ARGS='--devices 10,1000000'
load: $(STAMP)
	$(BIN)/python -m microipa.load $(ARGS)

# Cuts the power at up to twelve events of each kind in each flow; ARGS="--each 0" cuts at all of them, for hours.
cuts: $(STAMP)
	PYTHONPATH=tests:tests/system $(BIN)/python -m cuts $(ARGS)

# Kills processes of the eIM and of PostgreSQL 200 times each while devices work
kills: $(STAMP)
	MICROIPA_KILLS=200 $(BIN)/pytest -n 2 tests/unit/test_eim_faults.py -k killed $(ARGS)

conformance: $(STAMP)
	PYTHONPATH=tests $(BIN)/pytest -p conformance --conformance=tests/conformance.md -m covers

# Damaged messages for every parser of both sides: make fuzz ARGS='--seconds 600 --seed 7 --target esipa'
fuzz: $(STAMP)
	PYTHONPATH=tests:tests/unit:firmware $(BIN)/python -m fuzz $(ARGS)

# A fault in each place that refuses something; a test has to notice: make mutants ARGS='--seconds 300 --only smdpp'
mutants: $(STAMP)
	PYTHONPATH=tests $(BIN)/python -m mutants $(ARGS)

# How long the command takes to start, and to show 100 MB of a trace.
bench: $(STAMP)
	$(BIN)/python tests/benchmark.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy

# The documentation as a site in site/: docs/, the documents beside the code, and what docstrings and help say
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# Wheel and sdist, installed and tried outside of the checkout
package: $(STAMP)
	rm -rf dist
	$(BIN)/python -m build --quiet
	$(BIN)/python .ci/try_package.py dist

# The exact versions of all that the suite ran with, as pip finds them in fresh ranges
lock:
	rm -rf .lock-venv && $(PYTHON) -m venv .lock-venv
	.lock-venv/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	.lock-venv/bin/pip freeze --exclude-editable > constraints.txt
	rm -rf .lock-venv

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "microipa needs Python 3.11 or later: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) .lab .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage* site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
