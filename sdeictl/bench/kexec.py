"""Kexec: whether this host can boot its own kernel with another command line, and with which files."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator

from sdeictl.errors import SdeictlError, Status
from sdeictl.host.files import exists, read_file
from sdeictl.host.lenient import text_if_exists
from sdeictl.host.paths import BLOCK_DEVICES, BOOT_DIRECTORY, DEVICE_TREE, EFI, KEXEC_DISABLED, OWN_MOUNTS
from sdeictl.host.programs import has_program
from sdeictl.host.root import Root
from sdeictl.interlock.refusals import Reason, ReasonKind
from sdeictl.probe.facts import HostFacts
from sdeictl.probe.settings import read_number
from sdeictl.text import NamedTuple, lines_of

_CRYPT = "CRYPT-"
"""How the UUID of an encrypted device of the device mapper begins (cryptsetup(8))."""
_MAX_DEVICES = 256
ITS = b"arm,gic-v3-its"
"""The `compatible` string of an interrupt translation service in a device tree."""


class KernelFiles(NamedTuple):
    """The files of the running kernel, as far as the operator names them."""

    image: str | None = None
    """None: look for both files below /boot."""
    initrd: str | None = None
    no_initrd: bool = False
    """The kernel needs no initrd."""


class Kexec(NamedTuple):
    """The means of this host to boot a kernel by kexec."""

    installed: bool
    """kexec-tools is installed."""
    files: KernelFiles
    """The files that were found; a missing one is None."""
    disabled: bool
    """kernel.kexec_load_disabled is set."""
    has_its: bool | None
    """The device tree has an interrupt translation service; None if it cannot be read."""
    efi: bool
    encrypted: str = ""
    """The encrypted device that the root file system lies on."""


def read_kexec(root: Root, facts: HostFacts, named: KernelFiles) -> Kexec:
    """Read the means of this host; raise SdeictlError for a named file that does not exist, OSError."""
    return Kexec(
        installed=has_program("kexec"),
        files=_find_files(facts.release, named),
        disabled=read_number(root, KEXEC_DISABLED) == 1,
        has_its=_has_its(root),
        efi=exists(EFI),
        encrypted=find_encrypted(text_if_exists(root, OWN_MOUNTS)),
    )


def _find_files(release: str | None, named: KernelFiles) -> KernelFiles:
    if not named.image:
        image, initrd = find_kernel(release)
        return KernelFiles(image, None if named.no_initrd else initrd, named.no_initrd)
    for path in (named.image, named.initrd):
        if path and not os.path.isfile(path):
            raise SdeictlError(f"{os.path.abspath(path)} does not exist", Status.USAGE)
    initrd = os.path.abspath(named.initrd) if named.initrd else None
    return KernelFiles(os.path.abspath(named.image), initrd, named.no_initrd)


def find_kernel(release: str | None, boot: str = BOOT_DIRECTORY) -> tuple[str | None, str | None]:
    """Return the image and the initrd of a kernel release, as Debian, Fedora and SUSE name them."""
    images = [f"{boot}/{name}-{release}" for name in ("vmlinuz", "vmlinux", "Image", "linux")]
    initrds = [
        f"{boot}/{name}"
        for name in (f"initrd.img-{release}", f"initramfs-{release}.img", f"initrd-{release}")
    ]
    image = next((path for path in images if os.path.isfile(path)), None)
    return image, next((path for path in initrds if os.path.isfile(path)), None)


def find_encrypted(mounts: str, devices: str = BLOCK_DEVICES) -> str:
    """Return the encrypted device below the root file system, "" without one; raise OSError.

    `mounts` is /proc/self/mountinfo: the third field is the device of the mount point in the fifth.
    """
    numbers = [fields[2] for fields in map(str.split, lines_of(mounts)) if fields[4:5] == ["/"]]
    waiting = [f"{devices}/{number}" for number in numbers[-1:] if re.fullmatch(r"\d+:\d+", number, re.ASCII)]
    for _ in range(_MAX_DEVICES):
        if not waiting:
            break
        device = waiting.pop()
        if _uuid(device).startswith(_CRYPT):
            return os.path.basename(os.path.realpath(device))
        with contextlib.suppress(FileNotFoundError):  # only a device that lies on others has slaves
            waiting += [f"{device}/slaves/{name}" for name in os.listdir(f"{device}/slaves")]
    return ""


def _uuid(device: str) -> str:
    try:
        return read_file(f"{device}/dm/uuid").decode("ascii", "replace")
    except FileNotFoundError:  # it is not of the device mapper
        return ""


def _has_its(root: Root) -> bool | None:
    """Look for an interrupt translation service in the device tree; False on a host without one."""
    try:
        if not exists(DEVICE_TREE):
            return False
        for directory, _names, files in os.walk(DEVICE_TREE, onerror=_fail):
            if "compatible" in files and ITS in root.read(f"{directory}/compatible").split(b"\0"):
                return True
    except OSError:
        return None
    return False


def _fail(error: OSError) -> None:
    raise error


def refusals_for_kexec(facts: HostFacts, kexec: Kexec) -> Iterator[Reason]:
    """Yield every reason why kexec cannot boot this host's kernel."""
    lockdown = facts.drills.lockdown if facts.drills else None
    if lockdown not in (None, "none"):
        text = f"The kernel is locked down ({lockdown}): kexec may refuse every kernel."
        yield Reason(ReasonKind.PROVIDER, text)
    if kexec.disabled:
        text = "kexec is disabled until the next boot (kernel.kexec_load_disabled)."
        yield Reason(ReasonKind.POLICY, text)
    if kexec.encrypted:
        text = (
            f"The root file system lies on the encrypted device {kexec.encrypted}: a kernel that kexec boots"
            " may wait for its passphrase for ever, or may not get its key from the TPM."
        )
        yield Reason(ReasonKind.POLICY, text)
    if not kexec.installed:
        yield Reason(ReasonKind.PROVIDER, "kexec-tools is not installed.")
    yield from _refusals_for_files(kexec.files)
    # Only EFI keeps the tables of the GIC reserved across a kexec (gic_reserve_range() in irq-gic-v3-its.c).
    if facts.tables != "acpi" and not kexec.efi and kexec.has_its is not False:
        text = (
            "This host has a device tree, an interrupt translation service and no UEFI: a kernel that kexec"
            " starts would die, because the GIC still writes into the tables of the first kernel."
        )
        if kexec.has_its is None:
            text = "sdeictl cannot read whether the GIC of this host has an interrupt translation service."
        yield Reason(ReasonKind.PLATFORM, text)


def _refusals_for_files(files: KernelFiles) -> Iterator[Reason]:
    if not files.image:
        text = "The image of the running kernel was not found below /boot: name it with --kernel."
        yield Reason(ReasonKind.PROVIDER, text)
    elif not files.initrd and not files.no_initrd:
        text = (
            f"The initrd of {files.image} is unknown: name it with --initrd, or give --no-initrd if the"
            " kernel needs none."
        )
        yield Reason(ReasonKind.PROVIDER, text)
