# Each target sets up what it needs; `make help` says what that is. See README.md and CONTRIBUTING.md.
#: target         what it does                      takes    installs or needs
#: make demo      judge this host, or a capture     20 s     .venv, 50 MB      (1)
#: make test      the tests without an emulator     4 min    tools, 300 MB     (1)
#: make lab       build the emulated hosts          20 min   root, 6 GB        (2)
#: make test-lab  stories in emulated hosts         35 min   make lab
#: make bench     compare the speed with limits     60 min   linux-perf, gcc
#: make soak      long loops; PART=name for one     hours    make lab
#: make dist      sdist and wheels in dist/         1 min    two compilers     (3)
#: make deb       the Debian package in dist/       5 min    root, 1 GB        (2)
#: make clean     remove .venv, build and dist      1 s
#:
#: (1) Python 3.9 or later. If the module venv is missing, root gets python3-venv
#:     by apt-get.
#: (2) In ~/.cache/sdeictl-lab, or where SDEICTL_LAB says. What is missing comes
#:     by apt-get.
#: (3) The Debian packages gcc-aarch64-linux-gnu and gcc-x86-64-linux-gnu.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_HOST := tests/hosts/dt-sdei
DEB_ARCH ?= arm64
# The tests start sdeictl hundreds of times: without its compiled modules each start takes twice as long.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo help test test-lab soak bench dist deb lab lab-shell hosts truth-table clean

demo: $(VENV)/installed
	@PATH="$(BIN):$$PATH" sh tests/tools/demo.sh $(DEMO_HOST)

help:
	@sed -n 's/^#: \{0,1\}//p' Makefile

test: $(VENV)/ready
	$(BIN)/pytest tests --ignore=tests/lab --dist worksteal --numprocesses 2

# A guest idles for a third of its story: three at once keep two cores busy.
test-lab: lab
	$(BIN)/pytest tests/lab --no-loadscope-reorder --numprocesses 3 --durations=20

# Long loops, before a release: many examples of each property, every story on every machine, the
# extra ones too, and again where what is met is chance. PART=name runs one part of tests/tools/soak.py;
# the part fuzz needs no lab, and installs the fuzzer.
soak: export SDEICTL_LAB_EXTRA = 1
soak: $(if $(filter fuzz,$(PART)),$(VENV)/ready,lab)
	$(BIN)/python -m tests.tools.soak $(PART)

bench: $(VENV)/ready
	$(BIN)/python -m tests.tools.bench_probe
	$(BIN)/python -m tests.tools.bench_analyze
	$(BIN)/python -m tests.tools.bench_clock
	$(BIN)/python -m tests.tools.bench_agent
	$(BIN)/python -m tests.tools.bench_fleet

# The sdist and the wheels in dist; wants the compilers of arm64 and amd64 (gcc-aarch64-linux-gnu).
dist: $(VENV)/ready
	$(BIN)/python -m tests.tools.dist

# dist/sdeictl_VERSION_$(DEB_ARCH).deb, built in a Debian trixie of the lab.
deb: $(VENV)/ready
	$(BIN)/python -m tests.lab.deb $(DEB_ARCH)

lab: $(VENV)/ready
	$(BIN)/python -m tests.lab.build

lab-shell: $(VENV)/ready
	$(BIN)/python -m tests.lab.shell $(MACHINE)

# Boot every lab host anew and store its capture and its story in tests/hosts.
hosts: lab
	$(BIN)/python -m tests.lab.hosts

# The same with the extra machines, and then docs/truth-table.md.
truth-table: export SDEICTL_LAB_EXTRA = 1
truth-table: hosts
	$(BIN)/python -m tests.tools.truth_table

# sdeictl alone, without the tools of the tests.
$(VENV)/installed: pyproject.toml
	@PYTHON="$(PYTHON)" sh tests/tools/venv.sh $(VENV)
	@touch $@

$(VENV)/ready: $(VENV)/installed
	@echo "setting up the tools of the tests in $(VENV): one minute" >&2
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
