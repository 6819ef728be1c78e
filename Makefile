# Each target sets up what it needs. See README.md and CONTRIBUTING.md.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A guest idles for half of its story: two at once keep two cores busy. The other tests take two cores too.
PARALLEL := --numprocesses 2 --dist worksteal
DEMO_HOST := tests/hosts/dt-sdei
DEB_ARCH ?= arm64

.PHONY: demo test test-lab soak bench dist deb lab lab-shell hosts truth-table clean

demo: $(VENV)/ready
	@PATH="$(BIN):$$PATH" sh tests/tools/demo.sh $(DEMO_HOST)

test: $(VENV)/ready
	$(BIN)/pytest tests --ignore=tests/lab $(PARALLEL)

test-lab: lab
	$(BIN)/pytest tests/lab $(PARALLEL) --durations=20

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

$(VENV)/ready: pyproject.toml
	@echo "setting up $(VENV): one minute" >&2
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null \
		|| { apt-get update && apt-get install --yes --no-install-recommends python3-venv; } >&2
	$(PYTHON) -m venv $(VENV)
	@# The pip of Debian 11 cannot install a project that only pyproject.toml describes.
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
