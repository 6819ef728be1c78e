"""What an analysis says as a whole, in a few sentences: who was stuck, who answered and who did not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from sdeictl.klog.episodes import (
    Analysis,
    Backtrace,
    CsdLock,
    Episode,
    HardLockup,
    Panic,
    RcuStall,
    SoftLockup,
    Stop,
)
from sdeictl.klog.words import IN_TIME, CpuState, NmiPath
from sdeictl.text import name_cpus

MAX_BOOTS = 8
"""So many boots get sentences, the latest ones; the episodes below have all boots."""
MAX_REASONS = 16
"""So many stuck CPUs are named with the reason."""
_ANSWERS = (
    "did not answer",
    "did not answer each time",
    "answered too late",
    "had not answered when the log ended",
    "answered",
)
NOTHING = "The log has no backtrace request, lockup, stall, panic or stop."


def conclude(analysis: Analysis) -> list[str]:
    """Return the conclusion, a paragraph for each of the last boots that has an episode."""
    found = [(boot, list(episodes)) for boot, episodes in groupby(analysis.episodes, key=lambda e: e.boot)]
    if not found:
        return [NOTHING] if analysis.records else []
    if len(found) == 1:
        return [" ".join(_sentences(found[0][1]))]
    said = [f"Boot {boot}: {' '.join(_sentences(episodes))}" for boot, episodes in found[-MAX_BOOTS:]]
    omitted = len(found) - len(said)
    return [f"{omitted} earlier boots have episodes too.", *said] if omitted else said


def _sentences(episodes: Sequence[Episode]) -> Iterator[str]:
    yield from _stuck(episodes)
    yield from _answers([each for each in episodes if isinstance(each, Backtrace)])
    for episode in episodes:
        if isinstance(episode, Panic):
            yield "The kernel panicked."
            break
    failed = {cpu for each in episodes if isinstance(each, Stop) and each.failed_exact for cpu in each.failed}
    if failed:
        yield f"The kernel could not stop {name_cpus(sorted(failed))}."


def _stuck(episodes: Iterable[Episode]) -> Iterator[str]:
    """Yield which CPUs a detector named, each with all its reasons."""
    reasons: dict[int, dict[str, None]] = {}
    for episode in episodes:
        for cpu, reason in _named_by(episode):
            reasons.setdefault(cpu, {})[reason] = None
    named = [f"CPU {cpu} ({', '.join(reasons[cpu])})" for cpu in sorted(reasons)[:MAX_REASONS]]
    if named:
        more = f", and {len(reasons) - len(named)} more" if len(reasons) > len(named) else ""
        yield f"Stuck: {', '.join(named)}{more}."


def _named_by(episode: Episode) -> Iterator[tuple[int, str]]:
    """Yield the CPUs that an episode calls stuck, with the reason; not one that waits for another CPU."""
    if isinstance(episode, HardLockup) and episode.secondary_to is None:
        state = {True: ", interrupts masked", False: ", interrupts not masked", None: ""}[episode.masked]
        yield episode.cpu, f"hard lockup{state}"
    elif isinstance(episode, SoftLockup):
        yield episode.cpu, "soft lockup"
    elif isinstance(episode, RcuStall):
        for cpu in episode.cpus:
            yield cpu, "RCU stall"
    elif isinstance(episode, CsdLock):
        yield episode.target, "does not answer a function call"


def _answers(requests: Sequence[Backtrace]) -> Iterator[str]:
    """Yield which CPUs answered the backtrace requests, and which did not."""
    states: dict[int, list[CpuState]] = {}
    for request in requests:
        for cpu in request.cpus:
            if cpu.state is not CpuState.SELF:
                states.setdefault(cpu.cpu, []).append(cpu.state)
    groups: dict[str, list[int]] = {}
    for number in sorted(states):
        groups.setdefault(_answered(states[number]), []).append(number)
    parts = [f"{name_cpus(cpus)} {word}" for word, cpus in sorted(groups.items(), key=_least_answered)]
    if parts:
        count = f"{len(requests)} backtrace request{'s' * (len(requests) > 1)}"
        paths = ", ".join(sorted({request.path for request in requests} - {NmiPath.UNKNOWN}))
        yield f"{count}{paths and f', path {paths}'}: {'; '.join(parts)}."


def _least_answered(group: tuple[str, list[int]]) -> int:
    return _ANSWERS.index(group[0])


def _answered(states: Sequence[CpuState]) -> str:
    """Return the word of _ANSWERS for the states of one CPU in the requests to it."""
    failed = [state for state in states if IN_TIME[state] is False]
    never, sometimes, late, pending, always = _ANSWERS
    if failed and any(IN_TIME[state] for state in states):
        return sometimes
    if failed:
        return never if CpuState.SILENT in failed else late
    return pending if CpuState.PENDING in states else always
