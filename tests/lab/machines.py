"""The emulated hosts, one short record each."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from tests.lab.build import EXTRA


class Boot(Enum):
    """Who starts the kernel, and how it is told what the machine has."""

    TRUSTED_FIRMWARE = "devicetree"
    """Trusted Firmware-A at EL3 starts Linux itself, with a device tree."""
    UEFI = "acpi"
    """UEFI, below it Trusted Firmware-A or nothing; ACPI tables."""
    EMULATOR = "emulator"
    """QEMU starts Linux itself, with its own device tree: no firmware but its PSCI."""


class Machine(NamedTuple):
    """An arm64 host as QEMU, its firmware and its kernel command line make it."""

    name: str
    about: str
    nmi_path: str
    """The path by which a masked CPU is reached there, in the words of the report."""
    boot: Boot = Boot.TRUSTED_FIRMWARE
    kernel: str = "kernel"
    """The lab part with its Image: `kernel` (built here), a variant of it, or `stock` (the archive's)."""
    flash: str = "flash-sdei.bin"
    sdei_node: bool = True
    """Whether the device tree has /firmware/sdei; with UEFI the table is always there, but for its own."""
    cmdline: str = ""
    """Added to the kernel command line."""
    machine: str = "virt,secure=on,gic-version=3"
    cpu: str = "cortex-a57"
    cpus: int = 4
    secure_memory: bool = True
    """Whether the device tree shows the secure world's memory, as disabled. Linux 5.10 uses it and dies."""
    idle_state: bool = False
    """Whether the CPUs have a PSCI standby state, for which the kernel runs its CPU_PM notifiers."""
    lpi_flags: int | None = None
    """Whether ACPI gives the CPUs a standby state, and the context that it loses: 0 is none."""
    detects: bool = True
    """Whether a hard-lockup detector runs there."""
    watchdog: bool = False
    """Whether it has a hardware watchdog that resets it."""
    memory_mib: int = 1024
    ramoops: bool = False
    """Whether the device tree reserves memory in which the console's last lines outlast a reset."""
    extra: bool = False
    """Whether it needs the lab's extra parts (build.py)."""
    counts_instructions: bool = False
    """Whether its time is the number of its instructions: emulated, exact, and no time of any silicon."""
    root: str = "rootfs"
    """The lab part with its disk: `rootfs` has the lab's own init; `system` and `kdump` are whole Debians."""

    @property
    def idle_masks_sdei(self) -> bool:
        """Tell whether the kernel masks SDEI in an idle state that the CPUs use."""
        return self.idle_state or bool(self.lpi_flags)


PSEUDO_NMI = "irqchip.gicv3_pseudo_nmi=1"
EL2 = "virt,secure=on,virtualization=on,gic-version=3"
NO_EL3 = "virt,gic-version=3"

MACHINES = {
    machine.name: machine
    for machine in (
        Machine("dt-sdei", "SDEI firmware and a kernel that uses it", "sdei"),
        Machine("dt-none", "no SDEI node, pseudo-NMI off", "none", sdei_node=False),
        Machine("dt-pnmi", "no SDEI node, pseudo-NMI on", "pseudo-nmi", sdei_node=False, cmdline=PSEUDO_NMI),
        Machine("dt-both", "SDEI and pseudo-NMI: SDEI serves", "sdei", cmdline=PSEUDO_NMI),
        Machine(
            "dt-vhe",
            "the kernel at EL2 with VHE, as on Grace",
            "sdei",
            machine=EL2,
            cpu="cortex-a76",
        ),
        Machine(
            "dt-advertised",
            "the node is there, the firmware was built without SDEI",
            "none",
            flash="flash-plain.bin",
        ),
        Machine(
            "stock-debian",
            "the archive's unmodified 7.3 kernel on SDEI firmware",
            "none",
            kernel="stock",
        ),
        Machine("dt-idle", "SDEI, and an idle state in which the kernel masks SDEI", "sdei", idle_state=True),
        Machine(
            "acpi-sdei",
            "UEFI and ACPI: the table SDEI",
            "sdei",
            boot=Boot.UEFI,
            flash="flash-sdei-uefi.bin",
        ),
        Machine(
            "acpi-vhe",
            "UEFI, ACPI and the kernel at EL2 with VHE: the shape of Grace",
            "sdei",
            boot=Boot.UEFI,
            flash="flash-sdei-uefi.bin",
            machine=EL2,
            cpu="cortex-a76",
        ),
        Machine(
            "acpi-idle",
            "ACPI, and an idle state that loses context: the kernel masks SDEI in it",
            "sdei",
            boot=Boot.UEFI,
            flash="flash-sdei-uefi.bin",
            lpi_flags=1,
        ),
        Machine(
            "acpi-retention",
            "ACPI, and an idle state that keeps all context",
            "sdei",
            boot=Boot.UEFI,
            flash="flash-sdei-uefi.bin",
            lpi_flags=0,
            extra=True,
        ),
        Machine(
            "acpi-advertised",
            "the table SDEI is there, the firmware was built without SDEI",
            "none",
            boot=Boot.UEFI,
            flash="flash-plain-uefi.bin",
        ),
        Machine(
            "debian-13",
            "the unmodified kernel of Debian 13, 6.12, on SDEI firmware",
            "none",
            kernel="stock-6.12",
        ),
        Machine(
            "debian-12",
            "the unmodified kernel of Debian 12, 6.1, on SDEI firmware",
            "none",
            kernel="stock-6.1",
        ),
        Machine(
            "debian-11",
            "the unmodified kernel of Debian 11, 5.10, on SDEI firmware",
            "none",
            kernel="stock-5.10",
            secure_memory=False,
        ),
        Machine("dt-32", "SDEI, and 32 CPUs in two clusters", "sdei", cpus=32),
        Machine(
            "cloud-vm",
            "a virtual machine: UEFI and ACPI without EL3, PSCI by HVC, pseudo-NMI on",
            "pseudo-nmi",
            boot=Boot.UEFI,
            flash="flash-packaged.fd",
            machine=NO_EL3,
            cpu="cortex-a76",
            cmdline=PSEUDO_NMI,
        ),
        Machine(
            "nvhe",
            "the kernel started at EL2 of a CPU without VHE: the firmware refuses it",
            "none",
            machine=EL2,
        ),
        Machine(
            "gicv2",
            "a GICv2, on which pseudo-NMI cannot be, although it is asked for",
            "none",
            boot=Boot.EMULATOR,
            machine="virt,gic-version=2",
            cmdline=PSEUDO_NMI,
        ),
        Machine(
            "lockdown",
            "SDEI, and a kernel locked down to confidentiality",
            "sdei",
            cmdline="lockdown=confidentiality",
        ),
        Machine(
            "no-ghes",
            "the table SDEI is there, and the kernel was built without what looks for it",
            "none",
            boot=Boot.UEFI,
            kernel="kernel-no-ghes",
            flash="flash-sdei-uefi.bin",
            extra=True,
        ),
        Machine("dt-64k", "SDEI, and a kernel with pages of 64 KiB", "sdei", kernel="kernel-64k", extra=True),
        Machine(
            "feat-nmi",
            "CPUs with FEAT_NMI, which this kernel does not use",
            "none",
            boot=Boot.EMULATOR,
            machine=NO_EL3,
            cpu="max",
            extra=True,
        ),
        Machine(
            "debian-13-rt",
            "the unmodified real-time kernel of Debian 13, 6.12",
            "none",
            kernel="stock-6.12-rt",
            extra=True,
        ),
        Machine(
            "stock-6.18", "the unmodified long-term kernel 6.18", "none", kernel="stock-6.18", extra=True
        ),
        Machine(
            "stock-before",
            "the archive's newest unmodified kernel from before the SDEI NMI driver",
            "none",
            kernel="stock-before",
            extra=True,
        ),
        Machine(
            "stock-rt",
            "the archive's unmodified real-time kernel 7.3",
            "none",
            kernel="stock-rt",
            extra=True,
        ),
        Machine(
            "stock-16k",
            "the archive's unmodified 7.3 kernel with pages of 16 KiB",
            "none",
            kernel="stock-16k",
            cpu="cortex-a76",
            extra=True,
        ),
        Machine(
            "dt-perf",
            "Ubuntu's options: pseudo-NMI is built but off, and the detector is the perf detector",
            "none",
            kernel="kernel-perf",
            sdei_node=False,
            detects=False,
            extra=True,
        ),
        Machine(
            "linux-6.12",
            "Linux 6.12 with LKDTM, without pseudo-NMI",
            "none",
            kernel="kernel-6.12",
            extra=True,
        ),
        Machine(
            "linux-6.12-pnmi",
            "Linux 6.12 with pseudo-NMI and the buddy detector",
            "pseudo-nmi",
            kernel="kernel-6.12",
            cmdline=PSEUDO_NMI,
            extra=True,
        ),
        Machine(
            "linux-6.12-perf",
            "Linux 6.12 with pseudo-NMI and the perf detector",
            "pseudo-nmi",
            kernel="kernel-6.12-perf",
            cmdline=PSEUDO_NMI,
            extra=True,
        ),
        Machine("linux-6.1", "Linux 6.1 with LKDTM", "none", kernel="kernel-6.1", detects=False, extra=True),
        Machine(
            "linux-6.1-pnmi",
            "Linux 6.1 with pseudo-NMI on, by which it asks nobody",
            "none",
            kernel="kernel-6.1",
            cmdline=PSEUDO_NMI,
            detects=False,
            extra=True,
        ),
        Machine("up", "SDEI, and one CPU", "sdei", cpus=1),
    )
}

COUNTED = Machine(
    "counted",
    "one CPU whose time counts its instructions; no ITS, so that kexec works without UEFI",
    "none",
    boot=Boot.EMULATOR,
    machine="virt,gic-version=3,its=off",
    cpus=1,
    counts_instructions=True,
)
"""Not among the others: with one CPU there is nobody to ask."""

WATCHED = MACHINES["dt-sdei"]._replace(root="system", watchdog=True, cmdline="systemd.watchdog_sec=10")
"""A host whose systemd feeds a hardware watchdog."""

MACHINES_WITH_PEERS = {
    name: machine for name, machine in MACHINES.items() if machine.cpus > 1 and machine.extra <= EXTRA
}
"""Those on which one CPU can ask another: with the stories of tests/hosts."""
