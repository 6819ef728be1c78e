"""Which providers can mask a CPU of this host for a bounded time, and why another cannot."""

from __future__ import annotations

import errno

from sdeictl.formats.sysctl import parse_number
from sdeictl.host.lenient import text_of
from sdeictl.host.paths import (
    BPF_JIT,
    LOCKDOWN,
    MODULE_COMPRESSION,
    MODULE_SIG_ENFORCE,
    MODULES,
    MODULES_DISABLED,
)
from sdeictl.host.root import Root
from sdeictl.interlock.bpf import BpfWindow
from sdeictl.text import NamedTuple

NO_BPF = "the BPF compiler is off or missing (net.core.bpf_jit_enable)"
_SUFFIXES = ("", ".gz", ".xz", ".zst")
_SIGNATURE = b"~Module signature appended~\n"
"""How a signed module ends, kernel/module/signing.c."""


class ModuleFile(NamedTuple):
    """A kernel module that could be loaded."""

    path: str
    compressed: bool


class FoundProviders(NamedTuple):
    """What could mask a CPU for a bounded time."""

    test_lockup: ModuleFile | None = None
    no_test_lockup: str = ""
    """Why the module cannot be used, a clause; "" where it can."""
    no_bpf: str = ""
    """Why the kernel refuses the BPF program, a clause; "" where it accepts it."""


def find_providers(root: Root, release: str | None, *, trial: bool) -> FoundProviders:
    """Look for the module test_lockup; with `trial`, see whether the kernel accepts the BPF program."""
    base = module_path(release)
    for suffix in _SUFFIXES:
        try:
            data = root.read(base + suffix)
        except OSError:
            continue
        problem = _module_problem(root, data, compressed=bool(suffix))
        return FoundProviders(ModuleFile(base + suffix, bool(suffix)), problem, _bpf_problem(root, trial))
    return FoundProviders(None, no_module(release), _bpf_problem(root, trial))


def no_module(release: str | None) -> str:
    """Return that a kernel has no module test_lockup, a clause."""
    return f"this kernel has no module test_lockup ({module_path(release)}; CONFIG_TEST_LOCKUP)"


def module_path(release: str | None) -> str:
    """Return where the module test_lockup is, without the suffix of its compression."""
    return f"{MODULES}/{release}/kernel/lib/test_lockup.ko"


def _module_problem(root: Root, data: bytes, *, compressed: bool) -> str:
    if parse_number(text_of(root, MODULES_DISABLED)):
        return "kernel.modules_disabled keeps modules from being loaded until the next boot"
    lockdown = "[none]" not in (text_of(root, LOCKDOWN) or "[none]")
    enforced = text_of(root, MODULE_SIG_ENFORCE).startswith("Y")
    if (lockdown or enforced) and not data.endswith(_SIGNATURE) and not compressed:
        return "test_lockup.ko is not signed, and this kernel accepts signed modules only"
    if compressed and not text_of(root, MODULE_COMPRESSION):
        return "test_lockup.ko is compressed, and this kernel does not unpack modules"
    return ""


def _bpf_problem(root: Root, trial: bool) -> str:
    """Return why BPF cannot mask a CPU; without a trial only what files show."""
    if not parse_number(text_of(root, BPF_JIT)):
        return NO_BPF
    if not trial:
        return ""
    try:
        BpfWindow(1.0).close()
    except OSError as error:
        if error.errno == errno.EPERM:
            return "the kernel does not let this process load a BPF program"
        return f"the kernel refuses the BPF program: {error.strerror}"
    return ""
