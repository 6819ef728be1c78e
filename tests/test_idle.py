"""Which idle states mask SDEI: what AML tables say, what sysfs says, and what stays unknown."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdeictl.formats import aml
from sdeictl.formats.aml import MAX_DEPTH, Tables, Unknown
from sdeictl.formats.interrupts import Interrupts
from sdeictl.formats.lpi import read_lpi
from sdeictl.host.directory import DirectoryRoot
from sdeictl.host.paths import CONFIG_GZ
from sdeictl.probe.collect import collect
from sdeictl.probe.facts import HostFacts, IdleState, IdleStates, KernelConfig, MaskCount
from sdeictl.probe.metrics import exposition
from sdeictl.probe.report import build_report
from sdeictl.probe.text import render_report
from sdeictl.probe.verdict import decide
from sdeictl.text import to_plain
from tests.conftest import load_host

HEADER = struct.pack("<4sIBB6s8sI4sI", b"SSDT", 36, 2, 0, b"SDEICT", b"LABLPI", 1, b"TEST", 1)


def length(body: bytes) -> bytes:
    """Return a PkgLength and what it counts, in its longest form."""
    size = len(body) + 4
    return bytes([0xC0 | size & 0x0F, size >> 4 & 0xFF, size >> 12 & 0xFF, size >> 20]) + body


def number(value: int) -> bytes:
    return b"\x0c" + struct.pack("<I", value)


def package(*items: bytes) -> bytes:
    return b"\x12" + length(bytes([len(items)]) + b"".join(items))


def register(address: int) -> bytes:
    body = struct.pack("<BHBBBBQ", 0x82, 12, 0x7F, 32, 0, 3, address) + b"\x79\0"
    return b"\x11" + length(number(len(body)) + body)


def state(name: str, latency: int, flags: int, *, enabled: int = 1, residency: int = 10) -> bytes:
    counters = [register(0), register(0)]
    return package(
        number(residency), number(latency), number(enabled), number(flags), number(0), number(0), register(1),
        *counters, b"\x0d" + name.encode() + b"\0",
    )  # fmt: skip


def lpi(*states: bytes) -> bytes:
    return package(number(0), number(0), number(len(states)), *states)


def name(word: str, value: bytes) -> bytes:
    return b"\x08" + word.encode() + value


def method(word: str, body: bytes) -> bytes:
    return b"\x14" + length(word.encode() + b"\0" + body)


def returns(value: bytes) -> bytes:
    return b"\xa4" + value


def device(word: str, body: bytes) -> bytes:
    return b"[\x82" + length(word.encode() + body)


def scope(word: str, body: bytes) -> bytes:
    return b"\x10" + length(word.encode() + body)


def condition(body: bytes) -> bytes:
    return b"\xa0" + length(b"\x01" + body)


WFI = state("WFI", 1, 0, residency=1)


def table(*states: bytes, cpus: int = 2, extra: bytes = b"") -> bytes:
    """Return a table in which each CPU has a method that returns one package."""
    devices = [device(f"C00{cpu}", method("_LPI", returns(b"PLPI"))) for cpu in range(cpus)]
    return HEADER + scope("_SB_", name("PLPI", lpi(WFI, *states)) + b"".join(devices)) + extra


def flags_of(data: bytes) -> set[object]:
    """Return the flags of each CPU's states, or why they are unknown."""
    found = read_lpi([data]).values()
    return {each.why if isinstance(each, Unknown) else tuple(s.context_lost for s in each) for each in found}


@pytest.mark.parametrize("flags", [0, 1, 2, 0xF])
def test_flags_of_static_tables(flags: int) -> None:
    assert flags_of(table(state("standby", 2, flags))) == {(0, flags)}
    assert flags_of(table(state("standby", 2, flags, enabled=0))) == {(0,)}


def store(target: bytes) -> bytes:
    return method("_INI", b"\x70\x01" + target + b"\0")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (table(state("s", 2, 1), extra=scope("_SB_", store(b"PLPI"))), "other code uses PLPI"),
        (HEADER + device("C000", condition(name("_LPI", lpi(WFI)))), "defined under a condition"),
        (HEADER + device("C000", name("_LPI", lpi(WFI)) + name("_LPI", lpi(WFI))), "defined twice"),
        (
            HEADER + device("C000", method("_LPI", b"\x70\x00\x60" + returns(lpi(WFI)))),
            "a method that computes",
        ),
        (HEADER + device("C000", method("_LPI", returns(b"NONE"))), "NONE is not defined here"),
        (HEADER + device("C000", name("_LPI", number(3))), "no package of states"),
        (
            HEADER + device("C000", name("_LPI", package(number(0), number(0), number(9), WFI))),
            "another number",
        ),
        (HEADER + device("C000", name("_LPI", b"LOOP") + name("LOOP", b"LOOP")), "go in a circle"),
    ],
)
def test_what_is_not_static_is_unknown(data: bytes, why: str) -> None:
    (found,) = flags_of(data)
    assert why in str(found)


def test_container_adds_its_states() -> None:
    core = lpi(WFI, state("core", 5, 1))
    cluster = package(
        number(0), number(1), number(1),
        package(
            number(100), number(50), number(1), number(3), number(0), number(0), number(0x10),
            register(0), register(0), b"\x0dcluster\0",
        ),
    )  # fmt: skip
    inner = device("C000", name("_LPI", core))
    data = HEADER + scope("_SB_", device("CLU0", name("_LPI", cluster) + inner))
    (states,) = read_lpi([data]).values()
    assert not isinstance(states, Unknown)
    # Neither of the core's states allows a state of its container: their parent is 0.
    assert [each.name for each in states] == ["WFI", "core"]


def test_deep_and_circular_tables_end() -> None:
    nested = name("DEEP", b"\x00")
    for _ in range(MAX_DEPTH * 4):
        nested = scope("SCOP", nested)
    Tables([HEADER + nested])
    packages = b"\x00"
    for _ in range(MAX_DEPTH * 4):
        packages = package(packages)
    assert not [value for value in Tables([HEADER + name("DEEP", packages)]).names.values() if value == 0]


@given(seed=st.integers(0, 10**9), cuts=st.integers(1, 20))
def test_mutated_tables_end(seed: int, cuts: int) -> None:
    rng = random.Random(seed)
    data = bytearray(table(state("standby", 2, 1)))
    for _ in range(cuts):
        data[rng.randrange(36, len(data))] = rng.randrange(256)
    read_lpi([bytes(data)])
    read_lpi([bytes(data[: rng.randrange(len(data))])])


ACPI = HostFacts(
    architecture="arm64",
    idle_states=IdleStates(
        "acpi_idle", ("LPI-1",),
        (IdleState("LPI-0", "WFI", 1, 1), IdleState("LPI-1", "standby", 2, 10)),
    ),
)  # fmt: skip


def facts_of(data: bytes) -> HostFacts:
    (states,) = set(read_lpi([data]).values())
    return ACPI._replace(lpi_unknown=states.why) if isinstance(states, Unknown) else ACPI._replace(lpi=states)


def outcome(facts: HostFacts) -> tuple[str, str]:
    (found,) = (each for each in decide(facts)[1] if each.id == "idle-keeps-sdei")
    return found.outcome, found.severity


def config(**values: str) -> KernelConfig:
    return KernelConfig(CONFIG_GZ, True, tuple(values.items()))


OTHER_DRIVERS = ACPI._replace(idle_states=IdleStates("psci_idle", ("s1",), own_drivers=True))
BROADCASTS = ACPI._replace(interrupts=Interrupts("GICv3", 4, backtrace_row=True, broadcasts=5))
PLAIN_INTERRUPTS = load_host("acpi-sdei").root / "proc/interrupts"


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (facts_of(table(state("standby", 2, 0))), "pass"),
        (facts_of(table(state("standby", 2, 1))), "fail"),
        (facts_of(table(state("standby", 2, 2))), "fail"),
        (facts_of(table(state("standby", 3, 0))), "unknown"),
        (facts_of(table(state("other", 2, 0))), "unknown"),
        (facts_of(table(state("standby", 2, 0), state("off", 9, 1))), "unknown"),
        (ACPI._replace(lpi_unknown="a method that computes"), "unknown"),
        (ACPI, "unknown"),
        (ACPI._replace(idle_states=IdleStates("acpi_idle", ())), "pass"),
        (ACPI._replace(idle_states=IdleStates("none", ())), "pass"),
        (ACPI._replace(idle_states=IdleStates("psci_idle", ("cpu-sleep",))), "fail"),
        (ACPI._replace(idle_states=IdleStates("vendor_idle", ("s1",))), "unknown"),
        (ACPI._replace(idle_states=None), "unknown"),
        (ACPI._replace(idle_states=None, cpuidle_off=True), "pass"),
        (ACPI._replace(idle_states=None, configs=(config(CPU_IDLE="n"),)), "pass"),
        (ACPI._replace(idle_states=None, configs=(config(CPU_IDLE="y"),)), "unknown"),
        (ACPI._replace(idle_states=None, configs=(config(ARM64="y"),)), "unknown"),
        # The count overrules the tables, because the kernel may not use them.
        (facts_of(table(state("standby", 2, 0)))._replace(mask_count=MaskCount(3, 52, True)), "fail"),
        (facts_of(table(state("standby", 2, 1)))._replace(mask_count=MaskCount(3, 0, True)), "pass"),
        # Nothing was counted, but a CPU was not in a state that it uses.
        (ACPI._replace(mask_count=MaskCount(3, 0, False)), "unknown"),
        (ACPI._replace(mask_count=MaskCount(3, 2, False)), "fail"),
        (OTHER_DRIVERS, "unknown"),
        (OTHER_DRIVERS._replace(mask_count=MaskCount(3, 0, True)), "pass"),
        (OTHER_DRIVERS._replace(mask_count=MaskCount(3, 2, True)), "fail"),
        (BROADCASTS._replace(mask_count=MaskCount(3, 0, True)), "fail"),
    ],
)
def test_which_states_mask_sdei(facts: HostFacts, expected: str) -> None:
    severity = {"pass": "info", "fail": "warning", "unknown": "warning"}
    assert outcome(facts) == (expected, severity[expected])


def make_tree(directory: Path, ssdt: bytes, broadcasts: int = 0) -> DirectoryRoot:
    """Return acpi-sdei with two idle states of ACPI, the second in use."""
    import shutil  # noqa: PLC0415

    tree = directory / "tree"
    shutil.copytree(load_host("acpi-sdei").root, tree, symlinks=True)
    (tree / "sdeictl-capture.json").unlink()
    cpus = tree / "sys/devices/system/cpu"
    for cpu in range(4):
        (cpus / f"cpu{cpu}/cpuidle/driver").mkdir(parents=True)
        (cpus / f"cpu{cpu}/cpuidle/driver/name").write_text("acpi_idle\n")
    (cpus / "cpuidle").mkdir(parents=True, exist_ok=True)
    (cpus / "cpuidle/current_driver").write_text("acpi_idle\n")
    for cpu in range(4):
        for index, values in enumerate((("LPI-0", "WFI", 1, 1, 50), ("LPI-1", "standby", 2, 10, 7))):
            state_directory = cpus / f"cpu{cpu}/cpuidle/state{index}"
            state_directory.mkdir(parents=True)
            for field, value in zip(("name", "desc", "latency", "residency", "usage"), values):
                (state_directory / field).write_text(f"{value}\n")
    tables = tree / "sys/firmware/acpi/tables"
    (tables / "DSDT").write_bytes(HEADER)
    (tables / "SSDT").write_bytes(ssdt)
    rows = (tree / "proc/interrupts").read_text().splitlines(keepends=True)
    rows = [line.replace(" 0 ", f" {broadcasts} ", 1) if "Timer broadcast" in line else line for line in rows]
    (tree / "proc/interrupts").write_text("".join(rows))
    return DirectoryRoot(str(tree))


@pytest.mark.parametrize(
    ("ssdt", "broadcasts", "hazard", "top", "metric"),
    [
        (table(state("standby", 2, 0), cpus=4), 0, False, "", b" 0.0"),
        (table(state("standby", 2, 1), cpus=4), 0, True, "hazard: CPUs use the idle state LPI-1", b" 1.0"),
        (table(state("standby", 9, 0), cpus=4), 0, False, "warning: CPUs use the idle state LPI-1", None),
        (b"", 0, False, "warning: CPUs use the idle state LPI-1", None),
        (b"", 5, True, "hazard: CPUs use the idle state LPI-1", b" 1.0"),
    ],
)
def test_host_with_acpi_idle_states(
    tmp_path: Path, ssdt: bytes, broadcasts: int, hazard: bool, top: str, metric: bytes | None
) -> None:
    report = build_report(collect(make_tree(tmp_path, ssdt or HEADER, broadcasts)))
    assert report["verdict"]["nmi_path"] == "sdei"
    assert report["verdict"]["ready"] is True
    assert bool(report["verdict"]["hazards"]) is hazard
    text = "\n".join(to_plain(render_report(report)).splitlines()[:6])
    assert top in text
    assert ("hazard:" in text, "warning:" in text) == (top.startswith("hazard"), top.startswith("warning"))
    lines = [
        line for line in exposition(report).splitlines() if line.startswith(b"sdeictl_deep_idle_masks_sdei")
    ]
    assert lines == ([] if metric is None else [b"sdeictl_deep_idle_masks_sdei" + metric])


@pytest.mark.parametrize("usage", ["", "many\n", "-1\n", None])
def test_unreadable_usage_is_no_pass(tmp_path: Path, usage: str | None) -> None:
    root = make_tree(tmp_path, table(state("standby", 2, 0), cpus=4))
    for cpu in range(4):
        file = tmp_path / f"tree/sys/devices/system/cpu/cpu{cpu}/cpuidle/state1/usage"
        file.write_text("0\n")
    assert outcome(collect(root))[0] == "pass"
    file.unlink() if usage is None else file.write_text(usage)
    assert outcome(collect(root))[0] == "unknown"


def test_kernel_without_cpuidle(tmp_path: Path) -> None:
    root = make_tree(tmp_path, table(state("standby", 2, 1), cpus=4))
    (tmp_path / "tree/sys/devices/system/cpu/cpuidle/current_driver").unlink()
    assert outcome(collect(root))[0] == "unknown"
    parameter = tmp_path / "tree/sys/module/cpuidle/parameters/off"
    parameter.parent.mkdir(parents=True)
    for value, expected in (("0\n", "unknown"), ("1\n", "pass"), ("yes\n", "unknown")):
        parameter.write_text(value)
        assert outcome(collect(root))[0] == expected


def test_names_are_counted_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aml, "MAX_NAMES", 0)
    assert flags_of(table(state("standby", 2, 1))) == {"too many names"}
