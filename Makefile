# The two commands of the README are `make demo` and `make test`; each does its own set-up. `make help` lists all.
PYTHON ?= python3
VENV   ?= .venv
RUN     = $(VENV)/bin

.PHONY: help demo house test test-peers test-pictures test-compiled image-test boot-test ha-test quirks-test quirks-test-here test-debian13 lint coverage mutants
.PHONY: bench bench-peers counts schemas clean

help:
	@echo "make demo        install into $(VENV), then run the main job on a virtual dongle (about a minute)"
	@echo "make house       60 devices of all kinds for 15 minutes, 5 % loss, kill -9, another dongle; HOUSE_ARGS=--help"
	@echo "make test        install into $(VENV) (and the Debian packages the tests need), then run every check and test"
	@echo "make test-peers  what needs more packages: the TLS stacks of Java, Mbed TLS, wolfSSL and GnuTLS; zigbee2mqtt, zha"
	@echo "make test-pictures  run the pictures of docs/pictures/: nginx, HAProxy, Squid, mitmproxy, Chromium in between"
	@echo "make test-compiled  compile the hot modules, then run the tests of gateway, carriages and adapters on that build"
	@echo "make image-test  build the container image and run it and compose.yaml, with podman (a few minutes, as root)"
	@echo "make boot-test   the service of README in Debian 12 and 13 booted by systemd-nspawn; DEBIAN=12 takes one (root)"
	@echo "make ha-test     a real Home Assistant finds one device of each kind and uses it, in a Debian 13 root (as root)"
	@echo "make quirks-test devices by the quirks of zha-quirks, in a Debian 13 root (five minutes, as root)"
	@echo "make test-debian13  make demo and make test in a fresh Debian 13 root (as root; a quarter of an hour)"
	@echo "make lint        formatting, lint, types and import contracts only"
	@echo "make coverage    which lines and branches the unit tests run, and whether they are still as many (two minutes)"
	@echo "make mutants     change one small thing at a time; do the tests notice? MUTANTS_ARGS=--help lists the choices"
	@echo "make bench       measure the forwarding path beside its peers and commit e976080; prints ratios (ten minutes)"
	@echo "make bench-peers measure the gateway (pure, compiled, as it was) beside zigbee2mqtt and bellows (half an hour)"
	@echo "make counts      count Python calls and objects per message; COUNTS_ARGS=--write puts them into docs/bench.md"
	@echo "make schemas     write config/*.schema.json again from the models"
	@echo "make clean       remove $(VENV) and the caches"

demo:
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/setup demo
	@$(RUN)/python -m demo

house:
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/setup demo
	@$(RUN)/python -m demo.house $(HOUSE_ARGS)

test:
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/setup test
	@VENV="$(VENV)" sh scripts/check
	@$(RUN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder --ignore=tests/peers --ignore=tests/pictures --ignore=tests/image $(PYTEST_ARGS)

# Real peers that take long to install or to run.
test-peers:
	@PYTHON="$(PYTHON)" VENV="$(VENV)" PYTEST_ARGS="$(PYTEST_ARGS)" sh scripts/test-peers

# The drafts' network pictures with real boxes in between.
test-pictures:
	@PYTHON="$(PYTHON)" VENV="$(VENV)" PYTEST_ARGS="$(PYTEST_ARGS)" sh scripts/test-pictures

# The same tests on the build that ATLS_GATEWAY_COMPILED=1 makes (hatch_build.py).
test-compiled:
	@PYTHON="$(PYTHON)" VENV="$(VENV)" PYTEST_ARGS="$(PYTEST_ARGS)" sh scripts/test-compiled

# Containers, as root. BASE=IMAGE builds on another Debian.
image-test:
	@PYTHON="$(PYTHON)" VENV="$(VENV)" BASE="$(BASE)" PYTEST_ARGS="$(PYTEST_ARGS)" sh scripts/image-test

boot-test:
	@PYTHON="$(PYTHON)" sh scripts/boot-test $(DEBIAN)

# HA_PYTHON=/path/to/python with Home Assistant: here and without a root.
ha-test:
	@PYTHON="$(PYTHON)" VENV="$(VENV)" HA_PYTHON="$(HA_PYTHON)" sh scripts/ha-test

# quirks-test-here: what quirks-test runs inside.
quirks-test:
	@PYTHON="$(PYTHON)" PYTEST_ARGS="$(PYTEST_ARGS)" sh scripts/quirks-test

quirks-test-here:
	@PYTHON="$(PYTHON)" VENV="$(VENV)" PYTEST_ARGS="$(PYTEST_ARGS)" sh scripts/quirks-test here

test-debian13:
	@PYTHON="$(PYTHON)" PYTEST_ARGS="$(PYTEST_ARGS)" sh scripts/test-debian13

lint:
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/setup test
	@VENV="$(VENV)" sh scripts/check

# docs/devices.md, from the tables of the clusters.
devices-page:
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/setup test
	@$(RUN)/python scripts/devices_page.py --write

bench:
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/setup test
	@$(RUN)/python -m bench $(BENCH_ARGS)

bench-peers:
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/setup test
	@$(RUN)/python -m bench.peers $(BENCH_ARGS)

coverage:
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/setup test
	@VENV="$(VENV)" PYTEST_ARGS="$(PYTEST_ARGS)" sh scripts/coverage

mutants:
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/setup test
	@$(RUN)/python scripts/mutants.py $(or $(MUTANTS_ARGS),--sample 150)

counts:
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/setup test
	@$(RUN)/python -m bench.counts $(COUNTS_ARGS)

schemas:
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/setup demo
	@$(RUN)/python -m gateway.runtime.schemas config

clean:
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
