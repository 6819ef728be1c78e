"""Run one command in one emulated host.

Status and files travel through a directory that QEMU shares over 9p; the
serial console is evidence for the stories and never a channel.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.lab.build import PARTS, Lab
from tests.lab.machines import Boot, Machine

GUEST_SCRIPTS = Path(__file__).resolve().parent / "guest"
KERNEL_ADDRESS = 0x60000000  # PRELOADED_BL33_BASE of parts/firmware.sh
INITRD_ADDRESS = 0x70000000
RAMOOPS_ADDRESS = 0x78000000
RAMOOPS_BYTES = 0x100000
IDLE_STATE_PHANDLE = "7000"
SECURE_MEMORY = "/secram@e000000"
STATE_MIB = 1024
NO_SYNC = "cache=unsafe"
"""QEMU syncs nothing. A power cut in a story ends QEMU, and this machine keeps what QEMU has written. In the
guest that counts instructions, an fsync() would take minutes of the guest's own time."""
SYSTEM_IMAGE, OWN_ROOT = "system.ext4", "root.ext4"
GUEST_ADDRESS = "10.0.2.15"
"""Of a guest with a network (parts/system.sh)."""
DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")
"""A guest with a wedged CPU would otherwise keep a core busy for ever when its test is killed."""
POWER_OFF_GRACE = 30.0
"""Seconds a guest may take to power off once its status is there."""


class VmLostError(Exception):
    """The guest ended, or was ended at its deadline, without leaving a status."""


class VmRun(NamedTuple):
    """What one run left behind."""

    status: int | None
    """Exit status of the command; None where it was not meant to come back."""
    share: Path
    console: Path
    """What the normal world printed on its serial port, as bytes."""


def kernel_arguments(machine: Machine) -> str:
    """Return the kernel's command line."""
    return f"console=ttyAMA0 root=/dev/vda ro rootfstype=ext4 init=/lab-init {machine.cmdline}".strip()


def device_tree(machine: Machine, lab: Lab, directory: Path, initrd_size: int) -> Path:
    """QEMU's own tree for this machine, with the SDEI node and the boot arguments put in.

    Dumped with the same firmware it will run with: without -bios, QEMU lists a
    pl061 that is not there and the kernel dies on an external abort.
    """
    tree = directory / "machine.dtb"
    subprocess.run(
        [*emulator(lab), *_hardware(machine, lab, f",dumpdtb={tree}")],
        check=True,
        capture_output=True,
        timeout=60,
    )

    def put(kind: str, path: str, name: str, value: str) -> None:
        values = [value] if kind == "s" and value else value.split()
        subprocess.run(["fdtput", "-p", "-t", kind, tree, path, name, *values], check=True, timeout=60)

    put("s", "/chosen", "bootargs", kernel_arguments(machine))
    if machine.sdei_node:
        put("s", "/firmware/sdei", "compatible", "arm,sdei-1.0")
        put("s", "/firmware/sdei", "method", "smc")
    if not machine.secure_memory:
        subprocess.run(["fdtput", "-r", tree, SECURE_MEMORY], check=True, timeout=60)
    if machine.idle_state:
        _put_idle_state(put, machine.cpus)
    if machine.ramoops:
        _put_ramoops(put)
    if initrd_size:
        put("x", "/chosen", "linux,initrd-start", f"{INITRD_ADDRESS:x}")
        put("x", "/chosen", "linux,initrd-end", f"{INITRD_ADDRESS + initrd_size:x}")
    return tree


def _put_idle_state(put: Callable[[str, str, str, str], None], cpus: int) -> None:
    """A standby state that the governor takes at once, of each CPU (bindings/cpu/idle-states.yaml)."""
    put("s", "/cpus/idle-states", "entry-method", "psci")
    state = "/cpus/idle-states/standby"
    put("s", state, "compatible", "arm,idle-state")
    for name, value in (
        ("arm,psci-suspend-param", "1"), ("entry-latency-us", "1"), ("exit-latency-us", "1"),
        ("min-residency-us", "a"), ("phandle", IDLE_STATE_PHANDLE),
    ):  # fmt: skip
        put("x", state, name, value)
    for cpu in range(cpus):
        put("x", f"/cpus/cpu@{cpu}", "cpu-idle-states", IDLE_STATE_PHANDLE)


def _put_ramoops(put: Callable[[str, str, str, str], None]) -> None:
    """Memory for pstore, most of it for the console (bindings/reserved-memory/ramoops.yaml)."""
    for name in ("#address-cells", "#size-cells"):
        put("x", "/reserved-memory", name, "2")
    put("s", "/reserved-memory", "ranges", "")
    node = f"/reserved-memory/ramoops@{RAMOOPS_ADDRESS:x}"
    put("s", node, "compatible", "ramoops")
    put("x", node, "reg", f"0 {RAMOOPS_ADDRESS:x} 0 {RAMOOPS_BYTES:x}")
    put("x", node, "record-size", "10000")
    put("x", node, "console-size", "80000")


def idle_tables(flags: int, directory: Path) -> Path:
    """Return an initrd with an ACPI table that adds idle states (Documentation/admin-guide/acpi)."""
    place = directory / "initrd/kernel/firmware/acpi"
    place.mkdir(parents=True)
    source = directory / "lpi.dsl"
    preprocess: list[str | Path] = [
        "gcc",
        "-E",
        "-P",
        "-x",
        "c",
        f"-DARCH_FLAGS={flags}",
        "-o",
        source,
        PARTS / "lpi.asl",
    ]
    subprocess.run(preprocess, check=True, timeout=60)
    subprocess.run(["iasl", "-p", place / "lpi", source], check=True, capture_output=True, timeout=60)
    table = "kernel/firmware/acpi/lpi.aml"
    names = [*reversed([str(parent) for parent in Path(table).parents][:-1]), table]
    archive = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet"], input="\n".join(names).encode(), check=True,
        cwd=directory / "initrd", capture_output=True, timeout=60,
    ).stdout  # fmt: skip
    initrd = directory / "tables.cpio"
    initrd.write_bytes(archive)
    return initrd


def emulator(lab: Lab) -> list[str]:
    """Return how QEMU is called."""
    return [*lab.command("qemu", "qemu-system-aarch64"), "-L", str(lab.part("qemu") / "usr/share/qemu")]


def _hardware(machine: Machine, lab: Lab, machine_options: str = "") -> list[str]:
    command = [
        "-machine", machine.machine + machine_options,
        "-cpu", machine.cpu,
        "-smp", str(machine.cpus),
        "-m", str(machine.memory_mib),
        "-nodefaults", "-display", "none",
    ]  # fmt: skip
    if machine.watchdog:
        command += ["-device", "i6300esb", "-action", "watchdog=reset"]
    if machine.counts_instructions:
        command += ["-icount", "shift=0,sleep=off"]
    if machine.boot is not Boot.EMULATOR:
        command += ["-bios", str(lab.part("firmware") / machine.flash)]
    return command


def _command_line(machine: Machine, lab: Lab, directory: Path, serial: Sequence[str]) -> list[str]:
    command = [
        *emulator(lab), *_hardware(machine, lab), *serial,
        "-serial", f"file:{directory / 'secure.log'}",
        "-drive", f"file={_root(machine, lab, directory)},format=raw,if=none,id=root",
        "-device", "virtio-blk-pci,drive=root",
        "-fsdev", f"local,id=lab,path={directory / 'share'},security_model=none",
        "-device", "virtio-9p-pci,fsdev=lab,mount_tag=lab",
    ]  # fmt: skip
    kernel = lab.part(machine.kernel)
    if machine.boot is Boot.TRUSTED_FIRMWARE:
        return command + _preloaded(machine, lab, directory)
    command += ["-kernel", str(kernel / "Image"), "-append", kernel_arguments(machine)]
    if machine.lpi_flags is not None:
        return [*command, "-initrd", str(idle_tables(machine.lpi_flags, directory))]
    if (kernel / "initrd.gz").exists():
        command += ["-initrd", str(kernel / "initrd.gz")]
    return command


def _root(machine: Machine, lab: Lab, directory: Path) -> str:
    """Return the disk of the root: one that the story keeps, or one that forgets what is written to it."""
    part = lab.part(machine.root)
    if machine.root == "rootfs":
        return f"{part / 'rootfs.ext4'},readonly=on"
    own = directory.parent / OWN_ROOT
    return f"{own},{NO_SYNC}" if own.exists() else f"{part / SYSTEM_IMAGE},snapshot=on"


def _preloaded(machine: Machine, lab: Lab, directory: Path) -> list[str]:
    """Kernel, initrd and device tree where Trusted Firmware-A and the kernel look for them."""
    kernel = lab.part(machine.kernel)
    initrd = kernel / "initrd.gz"
    tree = device_tree(machine, lab, directory, initrd.stat().st_size if initrd.exists() else 0)
    load = f"loader,file={kernel / 'Image'},addr={KERNEL_ADDRESS:#x},force-raw=on"
    command = ["-dtb", str(tree), "-device", load]
    if initrd.exists():
        command += ["-device", f"loader,file={initrd},addr={INITRD_ADDRESS:#x},force-raw=on"]
    return command


def _prepare(machine: Machine, lab: Lab, directory: Path, job: str = "", files: Sequence[Path] = ()) -> Path:
    share = directory / "share"
    share.mkdir(parents=True)
    shutil.copy(lab.site(), share)
    (share / "site").mkdir()  # where the guest unpacks it
    shutil.copytree(GUEST_SCRIPTS, share / "guest")
    shutil.copy(lab.part(machine.kernel) / "modules.tar", share)
    (share / "job").write_text(job)
    for file in files:
        shutil.copy(file, share)
    return share


def run_in_vm(  # noqa: PLR0913 - what each run needs, by keyword
    machine: Machine,
    command: str,
    *,
    lab: Lab,
    directory: Path,
    timeout: float,
    survives: bool = True,
    last: str = "",
    files: Sequence[Path] = (),
) -> VmRun:
    """Boot `machine`, run the shell script `command` in it, and wait for the end.

    `directory` must not exist yet. The guest sees `directory`/share as /lab, has
    sdeictl installed and `files` in /lab, and its working directory is an empty tmpfs.
    `timeout` is in seconds of wall time. With survives=False the command is
    expected to reset the machine; coming back from it is then the failure. With `last` the
    command need not come back: the guest is ended once it has left this file.

    Raises VmLostError if the guest ends in another way than was asked for.
    """
    share = _prepare(machine, lab, directory, command, files)
    console = directory / "console.log"
    line = [*_command_line(machine, lab, directory, ["-serial", f"file:{console}"]), "-no-reboot"]
    return VmRun(_run(machine, directory, line, timeout, survives, last), share, console)


@contextmanager
def running_vm(
    machine: Machine,
    command: str,
    *,
    lab: Lab,
    directory: Path,
    ports: Mapping[int, int],
    files: Sequence[Path] = (),
) -> Iterator[Path]:
    """Boot `machine` with the command as its job, and yield the share while it runs; then it is ended.

    A port of this machine's loopback leads to the port of the guest that `ports` gives for it. A reset starts
    the command anew.
    """  # fmt: skip
    share = _prepare(machine, lab, directory, command, files)
    forwards = "".join(
        f",hostfwd=tcp:127.0.0.1:{here}-{GUEST_ADDRESS}:{there}" for here, there in ports.items()
    )
    line = [
        *_command_line(machine, lab, directory, ["-serial", f"file:{directory / 'console.log'}"]),
        "-netdev", f"user,id=net,restrict=on{forwards}",
        "-device", "virtio-net-pci,netdev=net,romfile=",
    ]  # fmt: skip
    with (directory / "qemu.log").open("wb") as log:
        process = subprocess.Popen([*DIES_WITH_US, *line], stdin=subprocess.DEVNULL, stderr=log)
    try:
        yield share
    finally:
        process.kill()
        process.wait()


def run_across_resets(
    machine: Machine, command: str, *, lab: Lab, directory: Path, timeout: float, files: Sequence[Path] = ()
) -> VmRun:
    """Like run_in_vm, but a reset ends nothing: the command starts anew in each boot, until it comes back.

    /var/lib/sdeictl and /var/crash are on a disk, state.ext4 beside `directory`, which is made where it is
    missing. A whole Debian has its own root there. The guest sees its own console log, and `files`, in the
    share.
    """
    line, share = _line_across_resets(machine, command, lab, directory, files)
    status = _run(machine, directory, line, timeout)
    return VmRun(status, share, share / "console.log")


def cut_power(  # noqa: PLR0913 - as run_across_resets, and what it waits for
    machine: Machine, command: str, *, lab: Lab, directory: Path, timeout: float, said: str,
    files: Sequence[Path] = (),
) -> None:  # fmt: skip
    """Like run_across_resets, but QEMU is killed once /lab/said has this text.

    Raises VmLostError if it does not come in time.
    """
    line, share = _line_across_resets(machine, command, lab, directory, files)
    with (directory / "qemu.log").open("wb") as log:
        process = subprocess.Popen([*DIES_WITH_US, *line], stdin=subprocess.DEVNULL, stderr=log)
    deadline = time.monotonic() + timeout
    try:
        while not _has_said(share / "said", said):
            if process.poll() is not None or time.monotonic() > deadline:
                raise VmLostError(f"{machine.name} did not say {said!r} ({directory})")
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()


def _has_said(path: Path, text: str) -> bool:
    return path.exists() and text in path.read_text()


def _line_across_resets(
    machine: Machine, command: str, lab: Lab, directory: Path, files: Sequence[Path]
) -> tuple[list[str], Path]:
    image = lab.part(machine.kernel) / "Image"  # for kexec
    share = _prepare(machine, lab, directory, command, (image, *files))
    own = directory.parent / OWN_ROOT
    if machine.root != "rootfs" and not own.exists():
        image = lab.part(machine.root) / SYSTEM_IMAGE
        subprocess.run(["cp", "--sparse=always", image, own], check=True, timeout=300)
    line = _command_line(machine, lab, directory, ["-serial", f"file:{share / 'console.log'}"])
    if machine.root == "rootfs":
        line += _state_disk(directory.parent / "state.ext4")
    return line, share


def _state_disk(state: Path) -> list[str]:
    if not state.exists():
        command = ["mke2fs", "-q", "-t", "ext4", str(state), f"{STATE_MIB}M"]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    drive = f"file={state},format=raw,if=none,id=state,{NO_SYNC}"
    return ["-drive", drive, "-device", "virtio-blk-pci,drive=state"]


def _run(
    machine: Machine, directory: Path, line: list[str], timeout: float, survives: bool = True, last: str = ""
) -> int | None:  # fmt: skip
    share = directory / "share"
    with (directory / "qemu.log").open("wb") as log:
        process = subprocess.Popen([*DIES_WITH_US, *line], stdin=subprocess.DEVNULL, stderr=log)
    try:
        in_time = _wait(process, share, timeout, last)
    finally:
        process.kill()
        process.wait()
    status = _read_status(share / "status")
    as_meant = _is_whole(share / last) if last else (status is not None) == survives
    if not as_meant or not in_time:
        raise VmLostError(_obituary(machine, directory, status, in_time, timeout))
    return status


def _wait(process: subprocess.Popen[bytes], share: Path, timeout: float, last: str) -> bool:
    """Wait until the guest powers off, has left its last file, or is late; tell whether it was in time."""
    deadline = time.monotonic() + timeout
    reported = False
    while process.poll() is None:
        if last and _is_whole(share / last):
            return True
        if not reported and (share / "status").exists():
            reported = True
            deadline = time.monotonic() + POWER_OFF_GRACE
        if time.monotonic() > deadline:
            return reported
        time.sleep(0.1)
    return True


def _is_whole(path: Path) -> bool:
    """Tell whether an object of JSON, as guest/observe.py writes it, has its end."""
    return path.exists() and path.read_bytes().endswith(b"\n}\n")


def _read_status(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except FileNotFoundError:
        return None


def _obituary(machine: Machine, directory: Path, status: int | None, in_time: bool, timeout: float) -> str:
    if status is not None:
        what = f"came back with status {status}, and was not meant to"
    elif in_time:
        what = "ended without a status"
    else:
        what = f"did not end within {timeout:.0f} s"
    tail = b""
    for name in ("console.log", "share/console.log", "qemu.log"):
        if (directory / name).exists():
            tail += (directory / name).read_bytes()[-1500:]
    return f"{machine.name} {what} ({directory})\n{tail.decode(errors='replace')}"


def shell_in_vm(machine: Machine, *, lab: Lab, directory: Path) -> int:
    """Boot `machine` with an interactive shell on this terminal; return QEMU's exit status."""
    share = _prepare(machine, lab, directory)
    (share / "interactive").touch()
    serial = [
        "-chardev",
        "stdio,id=console,mux=on,signal=off",
        "-serial",
        "chardev:console",
        "-mon",
        "console",
    ]
    return subprocess.run(
        [*_command_line(machine, lab, directory, serial), "-no-reboot"], check=False
    ).returncode
