"""Whether an idle state that the CPUs use masks SDEI: a request can lose such a CPU."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl.formats.interrupts import BROADCAST_ROW
from sdeictl.host.paths import ACPI_TABLES, CPU_DEVICES, CPUIDLE_OFF, INTERRUPTS, KMSG, NOTIFIER_RUN
from sdeictl.klog.words import NmiPath
from sdeictl.probe.checks.check import Check, Witness
from sdeictl.probe.facts import HostFacts, IdleState, IdleStates
from sdeictl.probe.kernel import NOTIFIER
from sdeictl.probe.settings import ACPI_IDLE
from sdeictl.probe.words import Owner, Severity

IDLE_CHECK = "idle-keeps-sdei"
_CPU_PM_DRIVERS = ("psci_idle",)
"""They run the CPU_PM notifiers in every state but the first, and so sdei_pm_notifier(), which masks SDEI
(drivers/cpuidle/cpuidle-psci.c)."""
_DRIVER = f"{CPU_DEVICES}/cpuidle/current_driver"


def _keeps(facts: HostFacts) -> Iterator[Witness]:
    log = facts.bootlog
    if log and log.complete and not log.sdei_nmi and facts.proven_path is not NmiPath.SDEI:
        yield Witness(False, "SDEI does not carry requests on this host", KMSG, applies=False)
        return
    idle = facts.idle_states
    if idle is None:
        yield from _without_cpuidle(facts)
        return
    states = ", ".join(idle.used)
    if count := _counted(facts, states):
        yield count
    elif idle.own_drivers:
        yield Witness(None, "CPUs have different idle drivers", _DRIVER)
    elif not idle.used:
        yield Witness(True, f"no CPU has entered an idle state but the first ({idle.driver})", _DRIVER)
    elif idle.driver in _CPU_PM_DRIVERS:
        yield Witness(False, f"CPUs use the idle state {states} ({idle.driver})", _DRIVER)
    elif idle.driver == ACPI_IDLE:
        yield from _acpi(facts, idle, states)
    else:
        yield Witness(None, f"CPUs use the idle state {states} ({idle.driver})", _DRIVER)


def _without_cpuidle(facts: HostFacts) -> Iterator[Witness]:
    """Yield what shows that a kernel without cpuidle in sysfs has none: its CPUs wait by WFI alone."""
    if facts.cpuidle_off:
        yield Witness(True, "the kernel was booted with cpuidle.off", CPUIDLE_OFF)
    for config in facts.configs:
        # A capture keeps only some lines, so a missing line shows nothing.
        if dict(config.values).get("CPU_IDLE") == "n":
            yield Witness(True, "CONFIG_CPU_IDLE is not set", config.source)


def _counted(facts: HostFacts, states: str) -> Witness | None:
    """Return what a count of the calls that mask SDEI shows; None if it shows nothing.

    A count of 0 shows something only if each CPU was in each state that it uses while they were counted, and
    if no timer was stopped by an idle state since the boot.
    """
    count = facts.mask_count
    if count is None:
        return None
    entered = f"CPUs entered the idle state {states}, and {NOTIFIER}() ran"
    if count.times:
        return Witness(False, f"{entered} {count.times} times in {count.seconds:g} s", NOTIFIER_RUN)
    if count.saw_each_state and not _broadcasts(facts):
        return Witness(True, f"{entered} not once in {count.seconds:g} s", NOTIFIER_RUN)
    return None


def _broadcasts(facts: HostFacts) -> bool:
    return bool(facts.interrupts and facts.interrupts.broadcasts)


def _acpi(facts: HostFacts, idle: IdleStates, states: str) -> Iterator[Witness]:
    """Yield what shows whether a state loses context: then the kernel runs its CPU_PM notifiers.

    A state in which the CPU's own timer stops is one: the same flags say both (processor_idle.c in
    drivers/acpi). The tables are strong evidence where they agree with sysfs.
    """
    used = f"CPUs use the idle state {states} ({idle.driver})"
    if _broadcasts(facts):
        seen = f'{used}, and the row "{BROADCAST_ROW}" counts'
        yield Witness(False, seen, INTERRUPTS)
    if facts.lpi is None:
        why = facts.lpi_unknown or "the ACPI tables were not read"
        yield Witness(None, f"{used}, and sysfs does not show whether it masks SDEI: {why}", ACPI_TABLES)
        return
    if problem := _differ(idle.states, [(each.name, each.latency, each.residency) for each in facts.lpi]):
        yield Witness(None, f"{used}; {problem}", ACPI_TABLES)
        return
    # State 0 is WFI for the kernel, whatever the table says of it.
    deeper = list(zip(idle.states, facts.lpi))[1:]
    lost = [state.name for state, each in deeper if state.name in idle.used and each.context_lost]
    words = f"{', '.join(lost)} loses context" if lost else "none of them loses context"
    yield Witness(not lost, f"{used}; by _LPI of the ACPI tables {words}", ACPI_TABLES)


def _differ(states: tuple[IdleState, ...], described: list[tuple[str, int, int]]) -> str:
    """Return how sysfs and the tables differ, a clause; "" if they describe the same states."""
    if len(states) != len(described):
        return f"sysfs has {len(states)} idle states, the ACPI tables describe {len(described)}"
    for number, (state, (name, latency, residency)) in enumerate(zip(states, described)):
        # The kernel has numbers of its own for state 0.
        same_numbers = number == 0 or (state.latency, state.residency) == (latency, residency)
        if not same_numbers or (name and state.description and name != state.description):
            return f"the idle state {state.name} is another one in sysfs than in the ACPI tables"
    return ""


IDLE_CHECKS = (
    Check(
        IDLE_CHECK, None, "No idle state in use masks SDEI",
        "In an idle state that loses context the kernel masks SDEI. Firmware such as Trusted Firmware-A does"
        " not end the event there, so a request can lose such a CPU until the host is reset. sysfs does not"
        " show which state of the driver acpi_idle that is.",
        "no idle state but the first is in use, or those in use keep context",
        "Boot with cpuidle.off=1, or hold /dev/cpu_dma_latency at 0, until the firmware vendor confirms that"
        " event 0 to a CPU with SDEI masked is harmless. `sdeictl drill` holds that file while a drill runs.",
        Owner.FIRMWARE, _keeps, doubt=Severity.WARNING,
    ),
)  # fmt: skip
