"""The parts of the lab: which script of parts/ builds each, from which files, and what it leaves."""

from __future__ import annotations

from typing import NamedTuple

from tests.lab.archive import BEFORE_SDEI_NMI, WITH_SDEI_NMI, Role, long_term


class Kernel(NamedTuple):
    """A kernel of the archive, as it is packaged (`flavour`) or built here (`options`)."""

    role: Role
    flavour: str = ""
    options: tuple[str, ...] = ()
    """Files of parts/ with its configuration; what a later one says replaces what an earlier one says."""
    base: str = ""
    """The part whose source tree, built already, it starts from if that is there."""


class Part(NamedTuple):
    """One script of parts/ and the files it leaves for the machines."""

    name: str
    inputs: tuple[str, ...]
    """Further files of parts/ that the script reads."""
    outputs: tuple[str, ...]
    extra: bool = False
    """Built only where SDEICTL_LAB_EXTRA is set: too long for every run."""
    kernel: Kernel | None = None
    like: str = ""
    """The part whose script builds this one too."""
    suite: str = ""
    """The suite that it takes its amd64 packages from; "" for trixie and its backports."""

    @property
    def script(self) -> str:
        """The file of parts/ that builds it."""
        if self.kernel:
            return "kernel.sh" if self.kernel.options else "stock.sh"
        return f"{self.like or self.name}.sh"


_BUILT = ("Image", "config", "version", "modules.tar")


def _stock(name: str, role: Role, flavour: str = "arm64", *, extra: bool = False) -> Part:
    return Part(name, ("stock-init",), (*_BUILT, "initrd.gz"), extra, Kernel(role, flavour))


def _built(name: str, role: Role, *options: str, base: str = "", extra: bool = False) -> Part:
    options = ("kernel.config", *options)
    return Part(name, options, _BUILT, extra, Kernel(role, options=options, base=base))


PARTS_TABLE = (
    _stock("stock", WITH_SDEI_NMI),
    _stock("stock-rt", WITH_SDEI_NMI, "rt-arm64", extra=True),
    _stock("stock-16k", WITH_SDEI_NMI, "arm64-16k", extra=True),
    _stock("stock-before", BEFORE_SDEI_NMI, extra=True),
    _stock("stock-6.18", long_term(6, 18), extra=True),
    _stock("stock-6.12", long_term(6, 12)),
    _stock("stock-6.12-rt", long_term(6, 12), "rt-arm64", extra=True),
    _stock("stock-6.1", long_term(6, 1)),
    _stock("stock-5.10", long_term(5, 10)),
    Part(
        "firmware",
        ("uefi-tables.c",),
        (
            "flash-sdei.bin",
            "flash-plain.bin",
            "flash-sdei-uefi.bin",
            "flash-plain-uefi.bin",
            "flash-packaged.fd",
        ),
    ),
    Part("rootfs", ("lab-init",), ("rootfs.ext4", "usr")),
    _built("kernel", WITH_SDEI_NMI),
    _built("kernel-no-ghes", WITH_SDEI_NMI, "kernel-no-ghes.config", base="kernel", extra=True),
    _built("kernel-64k", WITH_SDEI_NMI, "kernel-64k.config", base="kernel", extra=True),
    _built("kernel-perf", WITH_SDEI_NMI, "kernel-perf.config", base="kernel", extra=True),
    _built("kernel-6.12", long_term(6, 12), "kernel-6.12.config", extra=True),
    _built(
        "kernel-6.12-perf", long_term(6, 12), "kernel-6.12.config", "kernel-perf.config",
        base="kernel-6.12", extra=True,
    ),
    _built("kernel-6.1", long_term(6, 1), "kernel-6.1.config", extra=True),
    Part("sdei-refused", ("sdei_refused.c", "kernel.sh", "kernel.config"), ("sdei_refused.ko",)),
    Part("system", ("system-configure", "system-story"), ("system.ext4",)),
    Part("kdump", ("system-configure", "system-story"), ("system.ext4",), like="system"),
    Part("iasl", (), ("usr",)),
    Part("chromium", (), ("usr",)),
    Part("ansible", (), ("usr",)),
    Part("debian", (), ("root.tar",)),
    Part("bullseye", ("python.sh",), ("root.tar",)),
    Part("trixie", ("python.sh",), ("root.tar",)),
    Part("qemu", (), ("usr",)),
    Part("prometheus", (), ("usr",)),
    Part("prometheus-unstable", (), ("usr",), like="prometheus", suite="unstable"),
    Part("victoriametrics", (), ("usr",), extra=True),
    Part("slurm", (), ("root.tar",)),
    Part("sos", (), ("sos.tar",), extra=True),
)  # fmt: skip
