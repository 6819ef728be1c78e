"""What stands around the chain: each check on a host of tests/hosts that was changed in one respect."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from sdeictl.formats.acpi import Agdi, ErrorSource, Madt
from sdeictl.formats.interrupts import Interrupts
from sdeictl.host.open import open_root
from sdeictl.host.paths import CONFIG_GZ, COUNTERS, SYSCTLS
from sdeictl.klog.bootlog import BootLog, read_bootlog
from sdeictl.klog.log import parse_log
from sdeictl.klog.words import NmiPath
from sdeictl.probe.checks.check import Finding
from sdeictl.probe.checks.lockups import hard_lockup_detector
from sdeictl.probe.collect import collect
from sdeictl.probe.facts import (
    DrillAbilities,
    Evidence,
    HostFacts,
    KernelConfig,
    PlatformDevice,
    SdeiNode,
    Symbols,
)
from sdeictl.probe.report import crash_document, describe_host
from sdeictl.probe.stored_drills import Build, StoredDrill
from sdeictl.probe.verdict import decide
from tests.conftest import load_host

NODE = "/sys/firmware/devicetree/base/firmware/sdei"


@cache
def facts_of(name: str) -> HostFacts:
    return collect(open_root(str(load_host(name).root)))


def changed(name: str, **changes: Any) -> HostFacts:
    return facts_of(name)._replace(**changes)


def log_of(name: str, **changes: Any) -> BootLog:
    log = facts_of(name).bootlog
    assert log
    return log._replace(**changes)


def set_to(name: str, **values: str | None) -> HostFacts:
    """Return a host whose small files of these names hold these values; None: the kernel lacks the file."""
    settings = [
        (path, values.get(path.rpartition("/")[2], value)) for path, value in facts_of(name).settings or ()
    ]
    return changed(name, settings=tuple((path, value) for path, value in settings if value is not None))


def before_67(name: str) -> HostFacts:
    """Return the host with a kernel in which pseudo-NMI serves the performance counters alone."""
    interrupts = facts_of(name).interrupts
    assert interrupts
    return changed(
        name,
        symbols=Symbols(frozenset(), complete=True),
        interrupts=interrupts._replace(backtrace_row=False, stop_row=False),
    )


def config(source: str = "/boot/config-7.3", **values: str) -> KernelConfig:
    return KernelConfig(source, source == CONFIG_GZ, tuple(values.items()))


def finding(facts: HostFacts, check: str) -> Finding:
    return next(finding for finding in decide(facts)[1] if finding.id == check)


def madt(*mpidrs: int) -> Madt:
    return Madt(3, mpidrs)


def ghes(number: int, event: int | None) -> ErrorSource:
    return ErrorSource(number, 9, enabled=True, sdei_event=event)


def abilities(**known: Any) -> DrillAbilities:
    return DrillAbilities(lkdtm=True, test_lockup=True, bpf_jit=True, lockdown="none")._replace(**known)


def serial_only(*consoles: str, pstore: str | None = None, ramoops: int | None = None) -> Evidence:
    return Evidence(consoles, pstore, ramoops)


def hest(*sources: ErrorSource, devices: tuple[PlatformDevice, ...] = ()) -> HostFacts:
    tables = (*(facts_of("acpi-sdei").acpi_tables or ()), "HEST")
    return changed("acpi-sdei", acpi_tables=tables, hest=sources, devices=devices)


def agdi(table: Agdi, *, bound: bool) -> HostFacts:
    tables = (*(facts_of("acpi-sdei").acpi_tables or ()), "AGDI")
    return changed("acpi-sdei", acpi_tables=tables, agdi=table, devices=(PlatformDevice("agdi.0", bound),))


CASES = [
    # the chain
    (
        "sdei-affinity",
        changed("acpi-sdei", madt=madt(0, 1, 2, 0xF)),
        "pass",
        "Aff0 of all 4 CPUs is 15 or less",
    ),
    (
        "sdei-affinity",
        changed("acpi-sdei", madt=madt(0, 0xF), bootlog=None),
        "unknown",
        "Aff0 of 2 of the 4 CPUs is known",
    ),
    (
        "sdei-affinity",
        changed("acpi-sdei", madt=madt(0, 0x10)),
        "fail",
        "Aff0 is above 15 on 1 CPUs, the first one with MPIDR 0x10",
    ),
    (
        "sdei-affinity",
        changed("dt-sdei", bootlog=log_of("dt-sdei", mpidrs=(0, 0x81000011))),
        "fail",
        "0x81000011",
    ),
    ("sdei-affinity", changed("dt-none"), "not-applicable", "SDEI is not advertised"),
    ("sdei-affinity", changed("dt-sdei", bootlog=None), "unknown", "no source"),
    (
        "sdei-conduit",
        changed("dt-advertised", sdei_nodes=(SdeiNode(NODE, "hvc"),)),
        "pass",
        "the method of the device-tree node is hvc",
    ),
    (
        "sdei-conduit",
        changed("dt-advertised", sdei_nodes=(SdeiNode(NODE, None),)),
        "fail",
        "the method of the device-tree node is missing",
    ),
    (
        "sdei-conduit",
        changed("dt-advertised", sdei_nodes=(SdeiNode(NODE, None, method_known=False),)),
        "unknown",
        "no source",
    ),
    ("sdei-exception-level", changed("nvhe"), "fail", "started at EL2 and the kernel runs at EL1 (no VHE)"),
    ("sdei-exception-level", changed("acpi-vhe"), "pass", "started at EL2 and the kernel runs there (VHE)"),
    (
        "pseudo-nmi-gic",
        changed("gicv2"),
        "fail",
        "the driver of the interrupt controller is GIC-0, which is not a GICv3",
    ),
    ("pseudo-nmi-gic", changed("cloud-vm"), "pass", "GICv3"),
    (
        "pseudo-nmi-enabled",
        changed(
            "dt-pnmi",
            bootlog=log_of(
                "dt-pnmi", pseudo_nmi=None, pseudo_nmi_error="GICv3: Broken GIC integration, pseudo-NMI"
            ),
        ),
        "fail",
        "Broken GIC integration",
    ),
    # before Linux 6.7: pseudo-NMI, but not for backtraces
    ("pseudo-nmi-backtrace", before_67("dt-pnmi"), "fail", "does not have nmi_trigger_cpumask_backtrace()"),
    ("pseudo-nmi-backtrace", changed("dt-pnmi", symbols=None), "pass", "CPU backtrace interrupts"),
    ("pseudo-nmi-backtrace", changed("dt-pnmi", interrupts=None), "pass", "nmi_trigger_cpumask_backtrace()"),
    # a quirk of the GIC's security, not of its priorities
    ("pseudo-nmi-gic", changed("debian-13"), "pass", "GICv3"),
    # the detectors
    ("hard-lockup-detector", set_to("dt-none", watchdog_thresh="0"), "fail", "kernel.watchdog_thresh is 0"),
    ("soft-lockup-detector", set_to("dt-none", watchdog_thresh="0"), "fail", "kernel.watchdog_thresh is 0"),
    (
        "hard-lockup-detector",
        set_to("dt-none", watchdog_cpumask="0-1"),
        "pass",
        "the detector watches only CPUs 0-1",
    ),
    ("hard-lockup-detector", set_to("dt-none", nmi_watchdog="0"), "fail", "reads 0"),
    (
        "hard-lockup-detector",
        set_to("dt-none", nmi_watchdog=None),
        "fail",
        "the kernel does not have kernel.nmi_watchdog",
    ),
    ("hard-lockup-detector", changed("dt-none", settings=None, configs=()), "unknown", "no source"),
    ("hard-lockup-detector", set_to("dt-none", nmi_watchdog="x1"), "unknown", ""),
    ("soft-lockup-detector", set_to("dt-none", soft_watchdog="0"), "fail", "reads 0"),
    ("hung-task-detector", set_to("dt-none", hung_task_timeout_secs="0"), "fail", "is 0"),
    ("hung-task-detector", set_to("dt-none", hung_task_timeout_secs=None), "fail", "does not have"),
    ("rcu-stall-detector", set_to("dt-none", rcu_cpu_stall_suppress="1"), "fail", "is set"),
    ("no-lockup-seen", set_to("dt-none", hardlockup_count="2"), "fail", "hardlockup_count is 2"),
    (
        "no-lockup-seen",
        set_to("dt-none", hardlockup_count=None, softlockup_count=None, rcu_stall_count=None),
        "unknown",
        "this kernel does not count lockups",
    ),
    # the crash kernel
    ("kdump-reserved", set_to("dt-none", kexec_crash_size="268435456"), "pass", "268435456 bytes"),
    (
        "kdump-reserved",
        changed("dt-none", command_line="crashkernel=1G\n"),
        "fail",
        "although the command line asks for it",
    ),
    ("kdump-reserved", set_to("dt-none", kexec_crash_size=None), "fail", "does not support crash kernels"),
    ("kdump-loaded", set_to("dt-none", kexec_crash_loaded="1"), "pass", "a crash kernel is loaded"),
    (
        "kdump-makedumpfile",
        set_to("dt-none", kexec_crash_loaded="1")._replace(makedumpfile=False),
        "fail",
        "not installed",
    ),
    (
        "kdump-makedumpfile",
        set_to("dt-none", kexec_crash_loaded="1")._replace(
            makedumpfile=True, configs=(config(ARM64_4K_PAGES="y", ARM64_VA_BITS="48"),)
        ),
        "pass",
        "4 KiB pages and 48-bit",
    ),
    (
        "kdump-makedumpfile",
        set_to("dt-none", kexec_crash_loaded="1")._replace(
            makedumpfile=True, configs=(config(ARM64_64K_PAGES="y", ARM64_VA_BITS="52"),)
        ),
        "unknown",
        "64 KiB pages and 52-bit",
    ),
    # what drills could use
    (
        "drill-can-mask",
        changed("dt-none", drills=abilities(bpf_jit=False)),
        "pass",
        "can use the module test_lockup",
    ),
    (
        "drill-can-mask",
        changed("dt-none", drills=abilities(bpf_jit=False, lockdown="integrity")),
        "unknown",
        "signed",
    ),
    (
        "drill-can-mask",
        changed("dt-none", drills=abilities(bpf_jit=False, test_lockup=False)),
        "fail",
        "the BPF compiler is off",
    ),
    (
        "drill-can-mask",
        changed("dt-none", drills=abilities(test_lockup=None), interrupts=Interrupts("GICv3", 2, True)),
        "unknown",
        "no source",
    ),
    (
        "drill-can-mask",
        changed("dt-none", interrupts=Interrupts("GICv3", 1, True)),
        "fail",
        "one CPU is online",
    ),
    (
        "drill-can-wedge",
        changed("dt-none", drills=abilities(lockdown="integrity")),
        "fail",
        "locked down (integrity)",
    ),
    (
        "drill-can-wedge",
        changed("dt-none", drills=abilities(lkdtm=None, lockdown=None), configs=(config(LKDTM="n"),)),
        "fail",
        "CONFIG_LKDTM is not set",
    ),
    ("drill-can-wedge", changed("dt-none", drills=abilities(lkdtm=None), configs=()), "unknown", "no source"),
    ("evidence-survives", changed("dt-none", evidence=serial_only("tty0")), "fail", "the consoles are: tty0"),
    (
        "evidence-survives",
        changed("dt-none", evidence=serial_only("tty0", "netcon0")),
        "pass",
        "netconsole is on",
    ),
    (
        "evidence-survives",
        changed("dt-none", evidence=serial_only("tty0", pstore="ramoops", ramoops=65536)),
        "pass",
        "65536 bytes",
    ),
    (
        "evidence-survives",
        changed("dt-none", evidence=serial_only("tty0", pstore="efi_pstore")),
        "pass",
        "pstore (efi_pstore) keeps the end of the log at a panic",
    ),
    ("evidence-survives", changed("dt-none", evidence=serial_only("tty0", "ttyTCU0")), "pass", "ttyTCU0"),
    ("sysrq-dump", set_to("dt-none", sysrq="438"), "fail", "kernel.sysrq is 438"),
    ("sysrq-dump", set_to("dt-none", sysrq="8"), "pass", "kernel.sysrq is 8"),
    # the machine
    (
        "kernel-config-agrees",
        changed("dt-sdei", configs=(config(CONFIG_GZ, ARM_SDEI_NMI="y"), config(ARM_SDEI_NMI="n"))),
        "fail",
        "CONFIG_ARM_SDEI_NMI is y in /proc/config.gz, n in /boot/config-7.3",
    ),
    (
        "kernel-config-agrees",
        changed(
            "stock-debian",
            symbols=Symbols(frozenset({"sdei_probe"}), complete=True),
            configs=(config(ARM_SDEI_NMI="y"),),
        ),
        "fail",
        "the kernel has no sdei_nmi_handler()",
    ),
    (
        "kernel-config-agrees",
        changed("dt-sdei", configs=(config(CONFIG_GZ, ARM_SDEI_NMI="y"), config(ARM_SDEI_NMI="y"))),
        "pass",
        "2 copies",
    ),
    (
        "agdi-handled",
        agdi(Agdi(804, None), bound=True),
        "pass",
        "SDEI event 804; the device agdi.0 has driver",
    ),
    (
        "agdi-handled",
        agdi(Agdi(None, 42), bound=False),
        "fail",
        "interrupt 42; the device agdi.0 has no driver",
    ),
    ("agdi-handled", changed("acpi-sdei"), "not-applicable", "the ACPI table AGDI does not exist"),
    (
        "ghes-sdei-handled",
        hest(ghes(1, None)),
        "not-applicable",
        "no error source uses SDEI for notification",
    ),
    ("ghes-sdei-handled", hest(ghes(1, 804)), "fail", "error source 1 (event 804) has no driver"),
    (
        "ghes-sdei-handled",
        hest(ghes(1, 804), devices=(PlatformDevice("GHES.1", True),)),
        "pass",
        "SDEI events 804",
    ),
    (
        "ghes-sdei-handled",
        hest(ghes(1, 804), devices=(PlatformDevice("GHES.1", None),)),
        "unknown",
        "no source",
    ),
    (
        "sdei-watchdog",
        changed("debian-13", symbols=Symbols(frozenset({"sdei_watchdog_callback"}), complete=True)),
        "pass",
        "sdei_watchdog_callback()",
    ),
    ("sdei-watchdog", changed("debian-13"), "not-applicable", "the kernel does not have this watchdog"),
    (
        "feat-nmi",
        changed("feat-nmi"),
        "not-applicable",
        "this kernel does not use FEAT_NMI; a program cannot see whether the CPUs have it",
    ),
    (
        "feat-nmi",
        changed("feat-nmi", configs=(config(ARM64_NMI="y"),)),
        "unknown",
        "sdeictl does not know how that kernel uses FEAT_NMI",
    ),
    (
        "feat-nmi",
        changed("feat-nmi", bootlog=log_of("feat-nmi", feat_nmi=True), configs=()),
        "unknown",
        "FEAT_NMI was detected",
    ),
]


@pytest.mark.parametrize(("check", "facts", "outcome", "seen"), CASES)
def test_a_check(check: str, facts: HostFacts, outcome: str, seen: str) -> None:
    found = finding(facts, check)
    assert (found.outcome, seen in found.seen) == (outcome, True), found.seen


def test_pseudo_nmi_without_backtrace() -> None:
    verdict, findings = decide(before_67("dt-pnmi"))
    assert (verdict.nmi_path, verdict.stop_ladder) == ("none", ("ipi",))
    assert "pseudo-nmi-backtrace" in verdict.missing
    assert next(f for f in findings if f.id == "pseudo-nmi-enabled").outcome == "pass"
    neither = changed("dt-pnmi", symbols=None, interrupts=None)
    assert decide(neither)[0].nmi_path == "unknown"


@pytest.mark.parametrize(
    ("facts", "owner"),
    [
        (set_to("dt-none", nmi_watchdog="0"), "admin"),
        (set_to("dt-none", watchdog_thresh="0"), "admin"),
        (set_to("dt-none", nmi_watchdog=None), "kernel"),
    ],
)
def test_who_can_start_the_detector(facts: HostFacts, owner: str) -> None:
    assert finding(facts, "hard-lockup-detector").owner == owner


def test_config_of_another_build() -> None:
    other = config("/boot/config-7.3", ARM64_PSEUDO_NMI="n", ARM_SDEI_NMI="n")
    facts = changed(
        "dt-pnmi", bootlog=None, symbols=None, hotplug_states=None, devices=None, configs=(other,)
    )
    assert decide(facts)[0].nmi_path == "unknown"


def test_interface_that_broke_later() -> None:
    verdict, _ = decide(changed("dt-sdei", bootlog=log_of("dt-sdei", sdei_disabled=True)))
    assert verdict.nmi_path == "none"
    line = "sdei_nmi: SDEI_EVENT_SIGNAL to CPU 3 failed: -22"
    verdict, _ = decide(changed("dt-sdei", bootlog=log_of("dt-sdei", sdei_troubles=(line,))))
    assert (verdict.ready, verdict.hazards) == (True, (f"the boot log says: {line}",))


def test_option_not_set_or_not_listed() -> None:
    """The running kernel's own configuration speaks by what it leaves out, a file of that name does not."""
    nothing_else = {"bootlog": None, "symbols": None, "devices": None}
    for source, listed, outcome, seen in (
        (CONFIG_GZ, {"ARM_SDEI_NMI": "n"}, "fail", "CONFIG_ARM_SDEI_NMI is not set"),
        (CONFIG_GZ, {}, "fail", "CONFIG_ARM_SDEI_NMI is not listed"),
        ("/boot/config-7.3", {"ARM_SDEI_NMI": "n"}, "fail", "CONFIG_ARM_SDEI_NMI is not set"),
        ("/boot/config-7.3", {}, "unknown", "CONFIG_ARM_SDEI_NMI is not listed"),
    ):
        facts = changed("dt-none", configs=(config(source, **listed),), **nothing_else)
        found = finding(facts, "sdei-nmi-built")
        assert (found.outcome, found.seen) == (outcome, seen), source


@pytest.mark.parametrize(
    ("facts", "detector"),
    [
        (changed("dt-sdei"), "buddy"),
        (set_to("dt-none", nmi_watchdog="0"), "none"),
        (set_to("dt-none", nmi_watchdog=None), "none"),
        (changed("dt-none", settings=None), "unknown"),
        (changed("dt-none", configs=()), "unknown"),
        (changed("dt-none", configs=(config(HARDLOCKUP_DETECTOR_PERF="y"),)), "perf"),
    ],
)
def test_which_detector_runs(facts: HostFacts, detector: str) -> None:
    assert hard_lockup_detector(facts) == detector


OPENEULER = b"""\
[    0.000000] Booting Linux on physical CPU 0x0000080000 [0x481fd010]
[    0.000000] Linux version 5.10.0-136.12.0.86.oe2203sp1.aarch64 (abuild@host) #1 SMP
[    2.115431] sdei: SDEIv1.0 (0x0) detected in firmware.
[    4.330120] SDEI NMI watchdog: SDEI Watchdog registered successfully
[   10.000000] Run /init as init process
"""


def test_openeuler_watchdog_is_a_detector(tmp_path: Any) -> None:
    assert parse_log(OPENEULER).records
    (tmp_path / "dmesg.txt").write_bytes(OPENEULER)
    facts = collect(open_root(str(tmp_path)))
    assert finding(facts, "sdei-watchdog").outcome == "pass"
    assert finding(facts, "hard-lockup-detector").outcome == "pass"
    assert hard_lockup_detector(facts) == "sdei-watchdog"
    verdict, _ = decide(facts)
    assert verdict.nmi_path != "sdei"
    assert finding(facts, "sdei-answered").outcome == "pass"
    assert finding(facts, "sdei-nmi-registered").outcome == "fail"


def stored(kernel: str = "", firmware: str = "", **changes: Any) -> StoredDrill:
    facts = facts_of("acpi-sdei")
    build = Build(kernel or facts.release, firmware or facts.firmware)
    return StoredDrill("20261123T1-backtrace", build, "sdei", (), ())._replace(**changes)


@pytest.mark.parametrize(
    ("drill", "hazard"),
    [
        (stored(), None),
        (stored(silent=(3,)), "CPU 3 did not answer the request of the drill 20261123T1-backtrace"),
        (stored(silent=(3,), lost=(2, 3)), "the drill 20261123T1-backtrace lost CPUs 2, 3 of this host"),
        (stored(lost=(2,), kernel="6.12"), None),  # earned on another kernel
        (stored(lost=(2,), firmware="old"), None),
        (stored(silent=(3,), path="none"), None),  # no answer was expected
    ],
)
def test_a_stored_drill_is_a_hazard(drill: StoredDrill, hazard: str | None) -> None:
    verdict, _ = decide(changed("acpi-sdei", stored_drills=(drill,)))
    assert verdict.hazards == (() if hazard is None else (hazard,))
    assert verdict.ready is True


def test_what_a_crash_would_leave() -> None:
    facts = set_to("dt-sdei", kexec_crash_loaded="1", kexec_crash_size="1024", crash_kexec_post_notifiers="Y")
    assert crash_document(facts, NmiPath.SDEI) == {
        "kdump_loaded": True, "reserved_bytes": 1024, "post_notifiers": True, "path": "sdei",
    }  # fmt: skip
    assert set(crash_document(HostFacts(), NmiPath.UNKNOWN).values()) == {None, "unknown"}


@pytest.mark.parametrize(
    ("facts", "seen"),
    [
        (changed("dt-sdei", command_line="arm64.nmi=1\n"), "the command line has arm64.nmi=1"),
        (changed("dt-sdei", configs=(config(ARM64_USES_NMI="y"),)), "CONFIG_ARM64_USES_NMI=y"),
        (changed("dt-sdei", configs=(config(ARM64_NMI="y"),)), "CONFIG_ARM64_NMI=y"),
    ],
)
def test_kernel_that_may_use_feat_nmi(facts: HostFacts, seen: str) -> None:
    found = finding(facts, "feat-nmi")
    assert found.outcome == "unknown"
    assert found.seen == f"{seen}: sdeictl does not know how that kernel uses FEAT_NMI"


@pytest.mark.parametrize("register", ["GICD_CTLR", "GICD_CTRL"])
def test_gic_line_of_new_kernels(register: str) -> None:
    line = f"GICv3: {register}.DS=0, SCR_EL3.FIQ=1"
    log = read_bootlog(parse_log(f"[    0.000000] {line}\n".encode()).records)
    assert log.gic_security == line
    found = finding(HostFacts(architecture="arm64", bootlog=log), "pseudo-nmi-gic")
    assert (found.outcome, found.seen) == ("pass", f"the boot log says: {line}")


def test_settings_have_their_kernel_paths() -> None:
    paths = {path for path, _ in facts_of("dt-sdei").settings or ()}
    assert {f"{SYSCTLS}/nmi_watchdog", f"{COUNTERS}/hardlockup_count"} <= paths
    assert describe_host(facts_of("acpi-vhe"))["virtual"]


def test_device_without_a_driver_is_the_kernels_matter() -> None:
    """On 5.10 with a device tree the SDEI driver does not start, so the firmware was never asked."""
    found = finding(changed("dt-advertised", sdei_driver=False, bootlog=None), "sdei-answered")
    assert (found.outcome, found.owner) == ("fail", "kernel")
    found = finding(changed("dt-advertised", sdei_driver=True, bootlog=None), "sdei-answered")
    assert (found.outcome, found.owner) == ("fail", "firmware")
