"""Everything that changes the host. No other module writes to it."""

import contextlib
import ctypes
import os
import platform

from sdeictl.host.programs import output_of
from sdeictl.interlock.bpf import BpfWindow
from sdeictl.interlock.host import CHANGEABLE, CPU_LATENCY, SYSRQ_TRIGGER, ModuleFile, latency_request
from sdeictl.interlock.lkdtm import CRASH_TYPES, DIRECT
from sdeictl.probe.facts import KMSG

MARKER = "sdeictl: drill "
_SYSCALL_FINIT_MODULE = {"aarch64": 273}
_MODULE_INIT_COMPRESSED_FILE = 4


def fire_sysrq(command: str) -> None:
    """Write one command to /proc/sysrq-trigger; returns when the kernel has done it."""
    _write(SYSRQ_TRIGGER, command.encode())


def fire_lkdtm(crash_type: str) -> None:
    """Let LKDTM break the kernel, on this CPU; HARDLOCKUP and the panics never return."""
    if crash_type not in CRASH_TYPES:
        raise ValueError(f"{crash_type} is none of the crashes that a drill uses")
    _write(DIRECT, crash_type.encode())


def fire_marker(identifier: str) -> None:
    """Write the name of a drill into the kernel log, to find it again in what outlasts a reset."""
    _write(KMSG, f"<6>{MARKER}{identifier}".encode())


def fire_printers_off(cpu: int) -> dict[int, set[int]]:
    """Keep the threads that print to the consoles off a CPU; return where each might run before.

    `pr/ttyAMA0` and the like (kernel/printk/nbcon.c, nbcon_kthread_create()).
    """
    before = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{name}/comm", "rb") as comm:
                if not comm.read().startswith(b"pr/"):
                    continue
            allowed = os.sched_getaffinity(int(name))
            if cpu in allowed and len(allowed) > 1:
                os.sched_setaffinity(int(name), allowed - {cpu})
                before[int(name)] = allowed
    return before


def fire_affinities(affinities: dict[int, set[int]]) -> None:
    """Let threads run again where they might before."""
    for pid, allowed in affinities.items():
        with contextlib.suppress(OSError):
            os.sched_setaffinity(pid, allowed)


def fire_setting(path: str, value: int) -> None:
    """Set one of the numbers below /proc/sys; of kernel.printk the first, the other three stay."""
    if path not in CHANGEABLE:
        raise ValueError(f"{path} is none of the settings that a drill changes")
    _write(path, str(value).encode())


def fire_latency_request() -> int:
    """Ask for no idle state but the first; it holds until the returned descriptor is closed everywhere."""
    descriptor = os.open(CPU_LATENCY, os.O_RDWR | os.O_CLOEXEC)
    os.write(descriptor, latency_request(0))
    return descriptor


def fire_bpf_window(window: BpfWindow, cpu: int) -> None:
    """Mask another CPU's interrupts until the program is over."""
    window.run(cpu)


def fire_test_lockup(module: ModuleFile, seconds: float) -> None:
    """Mask this CPU's interrupts: load test_lockup, whose start ends with EAGAIN, so that it never stays.

    Once only: init_module(2) as a second try, which some loaders make, would
    be a second window. Raises OSError for any other error.
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
    """Boot a kernel with a command line, once, by whichever of the two system calls this one has.

    With `orderly` systemd stops the services first; else the file systems are written to their disks,
    and nothing is stopped. Raises OSError where the kernel is not taken.
    """
    initrds = (f"--initrd={initrd}",) if initrd else ()
    output_of("kexec", "--load", image, *initrds, f"--command-line={line}")
    # If the host does not go down, the caller unloads it: systemd makes a kexec of any later reboot.
    if orderly:
        output_of("systemctl", "kexec")
        return
    os.sync()
    output_of("kexec", "--exec")


def fire_unload() -> None:
    """Take a kernel back that was to be started by kexec, if there is one."""
    with contextlib.suppress(OSError):
        output_of("kexec", "--unload")


def fire_home(orderly: bool, *, again: bool) -> None:
    """Reset the host into its original boot: by the firmware, as a reboot does.

    Debian's kexec-tools can make of every reboot a kexec with the present command line; where the first
    try did not lead home, the services that do so are left out.
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
