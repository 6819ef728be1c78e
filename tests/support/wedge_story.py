"""What the analysis must find in the console of lab/guest/wedge.py, on a stored log and on a fresh one."""

from __future__ import annotations

from sdeictl.klog.analysis import analyze
from sdeictl.klog.episodes import Analysis, Backtrace, HardLockup, Panic, Stop
from sdeictl.klog.log import parse_log
from tests.lab.machines import MACHINES, PSEUDO_NMI, Machine


def has_pseudo_nmi(machine: Machine) -> bool:
    """Tell whether pseudo-NMI is on there, whatever the path of a backtrace is."""
    return PSEUDO_NMI in machine.cmdline and "gic-version=3" in machine.machine


def stop_rungs(machine: Machine) -> tuple[str, ...]:
    """Return the rungs that a CPU which takes no interrupts makes the kernel climb."""
    if has_pseudo_nmi(machine) and sends_nmi(machine):
        return ("ipi", "pseudo-nmi")
    return ("ipi", "sdei") if machine.nmi_path == "sdei" else ("ipi",)


def masked_by_registers(machine: Machine) -> bool | None:
    """Return what the registers say of a masked CPU there: SDEI does not keep the priority mask."""
    return None if machine.nmi_path == "sdei" and has_pseudo_nmi(machine) else True


def sends_nmi(machine: Machine) -> bool:
    """Tell whether the kernel asks by NMI: before Linux 6.7 each CPU shows itself, or does not.

    Such a kernel stops no CPU by NMI either.
    """
    return machine.kernel not in ("stock-5.10", "stock-6.1", "kernel-6.1")


def is_reached(machine: Machine) -> bool:
    """Tell whether a masked CPU is reached there."""
    return machine.nmi_path in ("sdei", "pseudo-nmi")


def check_wedge_story(name: str, console: bytes, wedged: int | None, function: str | None) -> Analysis:
    """Assert that the analysis of a machine's console agrees with what was done to it; return the analysis.

    `wedged` is the CPU that was put into `function` with its interrupts masked,
    None on a machine without LKDTM, where only healthy CPUs were asked.
    """
    analysis = analyze(parse_log(console))
    asked = [episode for episode in analysis.episodes if isinstance(episode, Backtrace)]
    assert (asked[0].trigger, asked[0].initiator) == ("sysrq-l", 0)
    assert {episode.path for episode in asked} == {MACHINES[name].nmi_path}
    for cpu in asked[0].cpus:
        if cpu.cpu != wedged:
            assert cpu.state in (("self",) if cpu.cpu == asked[0].initiator else ("idle", "backtrace"))
    if wedged is not None:
        for episode in asked:
            _check_victim(name, episode, wedged, function)
    _check_reports(name, analysis, wedged)
    return analysis


def _check_victim(name: str, episode: Backtrace, wedged: int, function: str | None) -> None:
    if not sends_nmi(MACHINES[name]):
        assert wedged not in {cpu.cpu for cpu in episode.cpus}
        return
    (victim,) = (cpu for cpu in episode.cpus if cpu.cpu == wedged)
    if not is_reached(MACHINES[name]):
        assert (victim.masked, victim.pc) == (None, None)
        if victim.state == "pending" and episode.trigger != "sysrq-l":
            return  # The panic came before the kernel stopped waiting.
        assert victim.state == "silent"
        # Until Linux 6.18 the kernel does not say that it stops waiting.
        assert episode.timed_out == (() if MACHINES[name].kernel == "kernel-6.12" else (wedged,))
        return
    assert (victim.state, victim.masked) == ("backtrace", masked_by_registers(MACHINES[name]))
    assert victim.pc is not None
    assert victim.pc.startswith(f"{function}+0x")


def _check_reports(name: str, analysis: Analysis, wedged: int | None) -> None:
    lockups = [episode for episode in analysis.episodes if isinstance(episode, HardLockup)]
    (panic,) = (episode for episode in analysis.episodes if isinstance(episode, Panic))
    (stop,) = (episode for episode in analysis.episodes if isinstance(episode, Stop))
    assert panic.message == "sysrq triggered crash"
    assert (stop.reason, stop.rungs) == ("panic", ("ipi",) if wedged is None else stop_rungs(MACHINES[name]))
    victims = () if wedged is None else (wedged,)
    reached = is_reached(MACHINES[name])
    primary = [lockup for lockup in lockups if lockup.secondary_to is None]
    assert {lockup.cpu for lockup in primary} == set(victims if MACHINES[name].detects else ())
    assert {lockup.has_stack for lockup in primary} <= {reached}
    assert stop.retried == (victims if reached else ())
    # A CPU waits for an answer with its own interrupts masked.
    waiting = {
        episode.initiator
        for episode in analysis.episodes
        if isinstance(episode, Backtrace) and any(cpu.state == "pending" for cpu in episode.cpus)
    }
    assert set(stop.failed) - waiting == set(() if reached else victims)
