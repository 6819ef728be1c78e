"""One sentence for each boot, and one for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sdeictl.klog.words import NmiPath
from sdeictl.postmortem.account import BootAccount, StuckCpu
from sdeictl.postmortem.examine import Postmortem
from sdeictl.postmortem.words import DumpState, End
from sdeictl.text import name_cpus

_MAX_PANIC = 120
_ENDS = {
    End.CLEAN: "The host was shut down in good order",
    End.RESET: "The log simply stops: the host was reset, lost power, or crashed without a trace",
    End.UNKNOWN: "Nothing shows how this boot ended",
    End.RUNNING: "This boot has not ended, as far as the log shows",
}
NOTHING = "Nothing of an earlier boot could be read."


def summarize(boot: BootAccount) -> str:
    """Return the account of a boot as one sentence, or a few short ones."""
    parts = [_ending(boot)]
    culprits = [cpu for cpu in boot.stuck if cpu.waits_for is None]
    named = [cpu for cpu in culprits if cpu.stack is not None]
    if named:
        parts += [_stuck(named), _stacks(named)]
    parts += _stops(culprits)
    if boot.end.is_crash:
        parts.append(_dump(boot, culprits))
    if boot.evidence_lost and boot.missing:
        parts.append(f"Missing links: {', '.join(boot.missing)}.")
    return " ".join(filter(None, parts))


def conclude(found: Postmortem) -> str:
    """Return what all boots say together, as a sentence."""
    crashes = [boot for boot in found.boots if boot.end.is_crash]
    if not found.boots:
        return NOTHING
    if not crashes:
        unknown = sum(boot.end is End.UNKNOWN for boot in found.boots)
        plural = "s" if unknown > 1 else ""
        return f"Nothing shows how {unknown} boot{plural} ended." if unknown else "No crash was found."
    count = f"{len(crashes)} crash{'es' * (len(crashes) > 1)}"
    if found.evidence_lost:
        lost = [boot for boot in crashes if boot.evidence_lost]
        return f"{count} found; {len(lost)} left too little of a CPU that was stuck."
    if found.evidence_lost is None:
        return f"{count} found; not all of them show whether a CPU was stuck, and what is left of it."
    return f"{count} found; every CPU that was stuck left what it could."


def _ending(boot: BootAccount) -> str:
    by = f" (drill {boot.drill})" if boot.drill else ""
    if boot.end in _ENDS:
        return f"{_ENDS[boot.end]}{by}."
    message = (boot.panic or "")[:_MAX_PANIC]
    kind = "a hard lockup" if boot.end is End.HARD_LOCKUP else "a panic"
    return f"The kernel ended with {kind}{by}: {message}."


def _stuck(cpus: Sequence[StuckCpu]) -> str:
    numbers = name_cpus(cpu.cpu for cpu in cpus)
    since = min((cpu.since for cpu in cpus if cpu.since is not None), default=None)
    when = "" if since is None else f", first named at {since:.1f} s"
    state = ""
    if all(cpu.masked for cpu in cpus):
        state = ", with interrupts masked"
    elif all(cpu.masked is False for cpu in cpus):
        state = ", with interrupts not masked"
    verb = "were" if len(cpus) > 1 else "was"
    return f"{numbers} {verb} stuck{state}{when}."


def _stacks(cpus: Sequence[StuckCpu]) -> str:
    lost = [cpu.cpu for cpu in cpus if not cpu.stack]
    if lost:
        return f"The log has no stack of {name_cpus(lost)}."
    by = " and ".join(sorted({cpu.path for cpu in cpus if cpu.path not in (NmiPath.UNKNOWN, NmiPath.NONE)}))
    return f"The stack reached the log{by and ', by '}{by}."


def _stops(cpus: Sequence[StuckCpu]) -> Iterator[str]:
    """Yield what the stop ladder did to CPUs that nothing had named before."""
    others = [cpu for cpu in cpus if cpu.stack is None and cpu.answered is not None]
    stopped = [cpu.cpu for cpu in others if cpu.answered]
    if stopped:
        by = " and ".join(sorted({cpu.path for cpu in others if cpu.answered}))
        it = "them" if len(stopped) > 1 else "it"
        yield f"A plain IPI did not stop {name_cpus(stopped)}; the kernel stopped {it} by {by}."
    failed = [cpu.cpu for cpu in others if not cpu.answered]
    if failed:
        yield f"The kernel could not stop {name_cpus(failed)}."


def _dump(boot: BootAccount, culprits: Sequence[StuckCpu]) -> str:
    if boot.dump.state is DumpState.NONE:
        return "No dump was found."
    if boot.dump.state is DumpState.UNKNOWN:
        return "A dump was found, and it cannot be read."
    whole = "The dump" if boot.dump.state is DumpState.COMPLETE else "The incomplete dump"
    lost = [cpu.cpu for cpu in culprits if cpu.registers_in_dump is False]
    if lost:
        return f"{whole} lacks the registers of {name_cpus(lost)}."
    has = [cpu.cpu for cpu in culprits if cpu.registers_in_dump]
    return f"{whole} has the registers of {name_cpus(has)}." if has else f"{whole} can be read."
