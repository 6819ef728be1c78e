"""The emulated hosts, one short record each."""

from typing import NamedTuple


class Machine(NamedTuple):
    """An arm64 host as QEMU, its firmware and its kernel command line make it."""

    name: str
    about: str
    nmi_path: str
    """The path by which a masked CPU is reached there, in the words of the report."""
    kernel: str = "kernel"
    """The lab part with its Image: `kernel` (built here) or `stock` (the archive's)."""
    flash: str = "flash-sdei.bin"
    sdei_node: bool = True
    """Whether the device tree has /firmware/sdei."""
    cmdline: str = ""
    """Added to the kernel command line."""
    machine: str = "virt,secure=on,gic-version=3"
    cpu: str = "cortex-a57"
    cpus: int = 4
    idle_state: bool = False
    """Whether the CPUs have a PSCI standby state, for which the kernel runs its CPU_PM notifiers."""
    memory_mib: int = 1024


PSEUDO_NMI = "irqchip.gicv3_pseudo_nmi=1"

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
            machine="virt,secure=on,virtualization=on,gic-version=3",
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
        Machine("up", "SDEI, and one CPU", "sdei", cpus=1),
    )
}

MACHINES_WITH_PEERS = {name: machine for name, machine in MACHINES.items() if machine.cpus > 1}
"""Those on which one CPU can ask another: with the stories of tests/hosts."""
