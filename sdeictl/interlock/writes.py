"""Every write by which sdeictl changes the state of the host; files of its own are written elsewhere."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
from collections.abc import Collection, Mapping

from sdeictl.host.paths import CPU_LATENCY, KMSG, LKDTM_DIRECT, PROC, SYSRQ_TRIGGER
from sdeictl.host.programs import output_of
from sdeictl.interlock.bpf import BpfWindow
from sdeictl.interlock.journal import CHANGEABLE
from sdeictl.interlock.lkdtm import CRASH_TYPES
from sdeictl.interlock.providers import ModuleFile
from sdeictl.probe.drills import MARK

_SYSCALL_FINIT_MODULE = {"aarch64": 273}
_MODULE_INIT_COMPRESSED_FILE = 4
"""include/uapi/linux/module.h"""


def fire_sysrq(command: str) -> None:
    """Write a command to /proc/sysrq-trigger; return when the kernel has carried it out."""
    _write(SYSRQ_TRIGGER, command.encode())


def fire_lkdtm(crash_type: str) -> None:
    """Make LKDTM crash or hang the kernel on this CPU; none of CRASH_TYPES returns."""
    if crash_type not in CRASH_TYPES:
        raise ValueError(f"{crash_type} is not a crash type that a drill uses")
    _write(LKDTM_DIRECT, crash_type.encode())


def fire_marker(identifier: str) -> None:
    """Write the name of a drill to the kernel log, so that the log can be recognised after a reset."""
    _write(KMSG, f"<6>{MARK}{identifier}".encode())


def read_printers(cpu: int) -> dict[int, set[int]]:
    """Return the affinities, by pid, of the threads that print to consoles and may run on a CPU.

    The name of such a thread begins with `pr/` (nbcon_kthread_create() in kernel/printk/nbcon.c). On a CPU
    that a drill masks for good it could not print its remaining lines, and they are the evidence.
    """
    found = {}
    for name in filter(str.isdecimal, os.listdir(PROC)):
        with contextlib.suppress(OSError):
            allowed = os.sched_getaffinity(int(name))
            if cpu in allowed and len(allowed) > 1 and _is_printer(int(name)):
                found[int(name)] = allowed
    return found


def fire_affinities(affinities: Mapping[int, Collection[int]]) -> None:
    """Set the affinities of printing threads, by pid; ignore threads that have ended."""
    for pid, allowed in affinities.items():
        with contextlib.suppress(OSError):
            if _is_printer(pid):
                os.sched_setaffinity(pid, allowed)


def _is_printer(pid: int) -> bool:
    with open(f"{PROC}/{pid}/comm", "rb") as comm:
        return comm.read().startswith(b"pr/")


def fire_setting(path: str, value: int) -> None:
    """Set a number below /proc/sys; of the four numbers in kernel.printk, the first one."""
    if path not in CHANGEABLE:
        raise ValueError(f"{path} is not a setting that a drill changes")
    _write(path, str(value).encode())


def fire_latency_request() -> int:
    """Keep all CPUs in idle state 0 until every copy of the returned descriptor is closed.

    The file accepts a latency in microseconds, 32 bits wide (Documentation/power/pm_qos_interface.rst).
    """
    descriptor = os.open(CPU_LATENCY, os.O_RDWR | os.O_CLOEXEC)
    os.write(descriptor, struct.pack("=i", 0))
    return descriptor


def fire_bpf_window(window: BpfWindow, cpu: int) -> None:
    """Mask the interrupts of another CPU until the program ends."""
    window.run(cpu)


def fire_test_lockup(module: ModuleFile, seconds: float) -> None:
    """Mask the interrupts of this CPU for some seconds, by loading test_lockup.

    The module does its work while it is loaded and then always fails with EAGAIN, so it does not stay
    loaded (lib/test_lockup.c). Raises OSError for any other error.

    finit_module(2) is called only once. Some programs try init_module(2) after it failed, and that would
    mask the CPU a second time.
    """
    whole, rest = divmod(round(seconds * 1e9), 10**9)
    parameters = f"time_secs={whole} time_nsecs={rest} disable_irq=1".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    number = _SYSCALL_FINIT_MODULE[platform.machine()]
    descriptor = os.open(module.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        flags = _MODULE_INIT_COMPRESSED_FILE if module.compressed else 0
        result = libc.syscall(ctypes.c_long(number), descriptor, ctypes.c_char_p(parameters), flags)
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    except BlockingIOError:  # EAGAIN
        return
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def fire_kexec(image: str, initrd: str | None, line: str, orderly: bool) -> None:
    """Boot a kernel with another command line, for one boot.

    With `orderly`, systemd stops the services before; otherwise the file systems are synced and the services
    are not stopped. kexec(8) chooses between kexec_file_load(2) and kexec_load(2). Raises OSError if it
    refuses the kernel.
    """
    initrds = (f"--initrd={initrd}",) if initrd else ()
    output_of("kexec", "--load", image, *initrds, f"--command-line={line}")
    # systemd turns a later reboot into a kexec while a kernel is loaded: if this boot goes on, the caller
    # must unload it.
    if orderly:
        output_of("systemctl", "kexec")
        return
    os.sync()
    output_of("kexec", "--exec")


def fire_unload() -> None:
    """Unload the kernel that kexec would boot; ignore errors, such as no kernel being loaded."""
    with contextlib.suppress(OSError):
        output_of("kexec", "--unload")


def fire_return(orderly: bool, *, again: bool) -> None:
    """Reboot the host through its firmware, with its own command line.

    Debian's kexec-tools can turn every reboot into a kexec with the present command line. With `again`, the
    second attempt, systemd does not run the service that does so. Raises OSError.
    """
    fire_unload()
    if orderly:
        output_of("systemctl", "reboot", *(("--force",) if again else ()))
        return
    os.sync()
    fire_sysrq("b")


def _write(path: str, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
