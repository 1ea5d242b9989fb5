# The verbs of this repository. Each prepares what it needs (tools/setup): a fresh Debian 12 or 13 with
# Python, git and make is enough. `make demo ARGS="--once"` hands arguments on.
.PHONY: hil help setup demo test lint bench fuzz announcements image image-lock

BIN := .venv/bin
ARGS ?=
SECONDS ?= 300

help:
	@echo "make demo    a door station on simulated hardware and an indoor monitor; one call, then yours to ring"
	@echo "make test    the whole suite, with real peers (Kamailio, baresip, linphone, sipp, Chromium)"
	@echo "make lint    ruff, mypy --strict, the floors of docs/architecture.md"
	@echo "make bench   the measurements: a table here, JSON in build/bench.json"
	@echo "make hil     a whole device, driven from outside: RIG=qemu-virt (docs/hil.md)"
	@echo "make fuzz    coverage-guided fuzzing of what reads the network, SECONDS=300 in all"
	@echo "make image BOARD=qemu-virt|rpi-debian   the OS image of a board, in build/image (docs/image.md)"
	@echo "make image-lock   the image's packages, as Debian and the package index have them today"
	@echo "make announcements   what the door says, spoken by espeak-ng into build/announcements (docs/sounds.md)"
	@echo "make setup   packages and .venv only"

setup:
	@tools/setup test

announcements:
	@tools/announcements build/announcements

demo:
	@tools/setup run
	@$(BIN)/portero demo $(ARGS)

# Pure parts first: their failures explain the others'. The calls with real peers run in real time and mostly
# wait, so two at once; they do not share the two cores with fuzzing, which would be heard as gaps.
test:
	@tools/setup test
	@mkdir -p build
	$(BIN)/pytest -m "not integration" -n 2 $(ARGS)
	$(BIN)/pytest -m integration -n 2 --dist worksteal $(ARGS)

lint:
	@tools/setup test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench:
	@tools/setup test
	@mkdir -p build
	@$(BIN)/python -c 'import sippy' 2>/dev/null || $(BIN)/python -m pip install --quiet --editable '.[bench]'
	$(BIN)/python -m tests.bench --json build/bench.json $(ARGS)

fuzz:
	@tools/setup test
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --quiet --editable '.[fuzz]'
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(ARGS)

image:
	@test -n "$(BOARD)" || { echo "make image BOARD=...: one of $$(cd board && ls -d */image.toml | xargs -n1 dirname | xargs)"; exit 2; }
	@tools/setup image
	@$(BIN)/python image-build/build.py --board $(BOARD) $(ARGS)

image-lock:
	@tools/setup image
	@$(BIN)/python image-build/build.py --lock $(if $(BOARD),--board $(BOARD)) $(ARGS)

# Needs root: a network of its own, and QEMU in it.
RIG ?= qemu-virt
FULL ?=
MINUTES ?=
hil:
	@tools/setup hil
	@$(BIN)/python -m hil --rig $(RIG) $(if $(FULL),--full) $(if $(MINUTES),--minutes $(MINUTES)) -- $(ARGS)
