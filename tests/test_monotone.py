"""If sources of a host are lost, a definite verdict may become unknown, but never the opposite."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdeictl.host.files import find_words
from sdeictl.host.open import open_root
from sdeictl.host.root import Root
from sdeictl.probe.collect import collect
from sdeictl.probe.verdict import decide
from tests.conftest import HOST_NAMES, load_host
from tests.test_analysis_properties import EXAMPLES

T = TypeVar("T")
ROOTS = {name: open_root(str(load_host(name).root)) for name in HOST_NAMES}
SOURCES = (
    "/sys",
    *(f"/proc/{name}" for name in ("cpuinfo", "version", "config.gz", "cmdline", "kallsyms")),
    "/kmsg.txt",
    "/lib/modules",
    "/sys/bus/platform",
    "/sys/bus/platform/devices",
    "/sys/devices/system/cpu/hotplug",
    "/sys/devices/system/cpu/hotplug/states",
    "/sys/firmware/devicetree",
    "/sys/firmware/acpi",
    "/proc/interrupts",
    "/proc/consoles",
    "/proc/sys",
    "/proc/sys/kernel",
    "/sys/kernel",
    "/sys/kernel/security/lockdown",
    "/sys/module",
    "/usr/bin",
    "/boot",
    "/sys/firmware/devicetree/base/firmware",
)
# If one of these is missing in a directory that exists, that is evidence and not a loss.
ITEMS = (
    *(f"/sys/firmware/devicetree/base/firmware/sdei{part}" for part in ("", "/compatible", "/method")),
    *(f"/sys/firmware/acpi/tables/{name}" for name in ("SDEI", "FACP", "APIC", "HEST", "AGDI")),
    *(
        f"/proc/sys/kernel/{name}"
        for name in ("nmi_watchdog", "soft_watchdog", "hung_task_timeout_secs", "sysrq")
    ),
    *(f"/sys/kernel/{name}" for name in ("hardlockup_count", "kexec_crash_loaded", "kexec_crash_size")),
)
ERRORS = {
    "absent": FileNotFoundError(2, "absent"),
    "denied": PermissionError(13, "denied"),
    "broken": OSError(5, "I/O"),
}


class Damaged:
    """A root with some sources that are lost, cut or replaced by garbage."""

    live = False

    def __init__(self, root: Root, damage: dict[str, str | float | bytes]) -> None:
        self._root = root
        self._damage = damage

    def _call(self, path: str, call: Callable[[str], T]) -> T:
        for source, damage in self._damage.items():
            if isinstance(damage, str) and (path == source or path.startswith(f"{source}/")):
                raise copy.copy(ERRORS[damage])  # one that is raised again keeps each traceback
        return call(path)

    def read(self, path: str) -> bytes:
        data = self._call(path, self._root.read)
        damage = self._damage.get(path)
        if isinstance(damage, bytes):
            return damage
        return data[: int(damage * len(data))] if isinstance(damage, float) else data

    def search(self, path: str, words: Iterable[bytes], ends: bytes) -> frozenset[bytes]:
        return find_words(self.read(path), words, ends)

    def names(self, path: str) -> tuple[str, ...]:
        return self._call(path, self._root.names)

    def link(self, path: str) -> str:
        return self._call(path, self._root.link)


def is_text(data: bytes) -> bool:
    """Tell whether bytes are lines of text, or strings of a device tree, each with a NUL after it."""
    strings = data.decode("utf-8", "replace").replace("\n", " ").removesuffix("\0").split("\0")
    return all(string and string.isprintable() for string in strings)


# Garbage is not text: "0" instead of "1" would be another host, not a damaged file.
garbage = st.binary(min_size=1, max_size=64).filter(lambda data: not is_text(data))
cuts_and_garbage = st.floats(0, 1, exclude_max=True) | garbage | st.just(os.urandom(300))
losses = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(SOURCES, st.sampled_from(sorted(ERRORS)) | cuts_and_garbage),
        **dict.fromkeys(ITEMS, st.sampled_from(["denied", "broken"]) | cuts_and_garbage),
    },
)


@settings(max_examples=EXAMPLES)
@given(name=st.sampled_from(HOST_NAMES), damage=losses)
def test_loss_never_turns_a_verdict(name: str, damage: dict[str, str | float | bytes]) -> None:
    whole, findings = decide(collect(ROOTS[name]))
    partial, left = decide(collect(Damaged(ROOTS[name], damage)))
    assert partial.nmi_path in (whole.nmi_path, "unknown")
    before = {finding.id: finding.outcome for finding in findings}
    after = {finding.id: finding.outcome for finding in left}
    for check, outcome in after.items():
        assert {before[check], outcome} != {"pass", "fail"}, check


# Only the log (or --deep, for SDEI) proves that a path works. Only kallsyms shows that a kernel with
# pseudo-NMI on requests no backtrace by it. Two sources show every other link of the chain. Each source fails
# by one error on a host, and by the next error on the next host.
@pytest.mark.parametrize(("turn", "name"), list(enumerate(HOST_NAMES)))
def test_single_source_is_redundant(turn: int, name: str) -> None:
    whole, _ = decide(collect(ROOTS[name]))
    for number, source in enumerate((*SOURCES, *ITEMS), turn):
        error = list(ERRORS)[number % len(ERRORS)]
        left, _ = decide(collect(Damaged(ROOTS[name], {source: error})))
        needed = source == "/kmsg.txt" and whole.nmi_path != "none"
        needed |= source == "/proc/kallsyms" and name == "linux-6.1-pnmi"
        assert left.nmi_path == ("unknown" if needed else whole.nmi_path), (source, error)
