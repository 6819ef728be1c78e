"""Renders an analysis as text: its conclusion first, then one paragraph for each episode."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from sdeictl.klog.conclusion import conclude
from sdeictl.klog.document import CpuDocument, LadderDocument, cpu_document
from sdeictl.klog.episodes import (
    Analysis,
    Backtrace,
    CrashKernel,
    CsdLock,
    Episode,
    HardLockup,
    HungTask,
    Panic,
    RcuStall,
    SoftLockup,
    Stop,
    TaskDump,
    WorkqueueLockup,
)
from sdeictl.klog.words import IN_TIME, CpuState, NmiPath
from sdeictl.text import Line, name_cpus, show_ladder, wrapped

_PATH_TEXTS = {NmiPath.NONE: "none (a plain IPI)"}


_STATES = {
    CpuState.SELF: "this CPU sent the request",
    CpuState.IDLE: "it answered that it was idle, and printed no stack",
    CpuState.LATE: "it answered after the kernel had stopped waiting",
    CpuState.ANSWERED: "the log lacks its answer, but the kernel did not wait for it any longer",
    CpuState.SILENT: "it did not answer while the kernel waited, mostly 10 s",
    CpuState.PENDING: "it had not answered when the log ended",
}
"""What the states mean, but for `backtrace`, which is plain."""
_BAD = (HardLockup, SoftLockup, RcuStall, CsdLock, Panic)


def render_analysis(analysis: Analysis, width: int = 80) -> Iterator[Line]:
    """Yield an analysis as lines of at most `width` columns; a longer word is never cut."""
    lost = f", {analysis.records_lost} lost" if analysis.records_lost else ""
    records = "1 kernel record" if analysis.records == 1 else f"{analysis.records} kernel records"
    count = len(analysis.episodes)
    episodes = f"{count} episode{'s' * (count > 1)}" if count else "no episode"
    for sentence in conclude(analysis):
        yield from wrapped(sentence, width, style="bold")
    yield ((f"{records}{lost}, {episodes}", ""),)
    several_files = len(analysis.files) > 1
    for file in analysis.files if several_files else ():
        yield ((f"{file.name}: {file.records} of them", ""),)
    for note in analysis.notes:
        yield from wrapped(note, width, "  ", head=(("note: ", "yellow"),))
    several_boots = any(episode.boot for episode in analysis.episodes)
    explained: set[CpuState] = set()
    for episode in analysis.episodes:
        at = "" if episode.at is None else f"{episode.at:.6f} s"
        boot = f"boot {episode.boot} " if several_boots else ""
        where = f"{analysis.files[episode.file].name}: " if several_files else ""
        yield ()
        head = ((f"{where}{boot}{at} ".lstrip(), "dim"),)
        style = "bold red" if isinstance(episode, _BAD) else "bold"
        yield from wrapped(_headline(episode), width, "  ", style, head=head)
        if isinstance(episode, Backtrace):
            yield from cpu_lines(map(cpu_document, episode.cpus), width)
            yield from _explain({cpu.state for cpu in episode.cpus} - explained, width)
            explained |= {cpu.state for cpu in episode.cpus}


def _explain(states: Collection[CpuState], width: int) -> Iterator[Line]:
    """Yield what the states mean that appear for the first time."""
    for state, meaning in _STATES.items():
        if state in states:
            yield from wrapped(f"{state}: {meaning}", width, " " * 6, "dim")


def _headline(episode: Episode) -> str:
    if isinstance(episode, Backtrace):
        return _backtrace(episode)
    if isinstance(episode, HardLockup):
        return _hard_lockup(episode)
    if isinstance(episode, Stop):
        return _stop(episode)
    if isinstance(episode, RcuStall):
        return _rcu_stall(episode)
    if isinstance(episode, CrashKernel):
        state = "started" if episode.handed_over else "being started"
        return (
            f"crash kernel {state}" + "; some CPUs may still run, the dump is unreliable" * episode.stale_cpus
        )
    if isinstance(episode, Panic):
        return f"panic: {episode.message}"
    return _stuck(episode)


def _stuck(episode: SoftLockup | HungTask | CsdLock | WorkqueueLockup | TaskDump) -> str:
    if isinstance(episode, SoftLockup):
        return f"soft lockup of CPU {episode.cpu} for {episode.seconds} s in {episode.task}"
    if isinstance(episode, HungTask):
        return f"hung task {episode.task}:{episode.pid} for {episode.seconds} s"
    if isinstance(episode, CsdLock):
        return f"CSD lock: CPU {episode.cpu} waits for CPU {episode.target}, which does not respond"
    if isinstance(episode, WorkqueueLockup):
        return f"workqueue lockup of {name_cpus(episode.cpus)}"
    return f"task dump of CPU {episode.cpu}, without an NMI"


def _backtrace(episode: Backtrace) -> str:
    initiator = "an unknown CPU" if episode.initiator is None else f"CPU {episode.initiator}"
    path = _PATH_TEXTS.get(episode.path, episode.path)
    return f"backtrace ({episode.trigger}): {initiator} asked {name_cpus(episode.targets)}, path {path}"


def _hard_lockup(episode: HardLockup) -> str:
    detector = "an unknown CPU" if episode.detected_by is None else f"CPU {episode.detected_by}"
    stack = "with its stack" if episode.has_stack else "without its stack"
    path = f" by {episode.path}" if episode.path and episode.path is not NmiPath.UNKNOWN else ""
    masked = {True: ", masked", False: ", not masked", None: ""}[episode.masked]
    cause = "" if episode.secondary_to is None else f"; it was waiting for CPU {episode.secondary_to}"
    return f"hard lockup of CPU {episode.cpu}, detected by {detector}{path}, {stack}{masked}{cause}"


def _rcu_stall(episode: RcuStall) -> str:
    stalled = [name_cpus(episode.cpus)] if episode.cpus else []
    stalled += [f"task {task}" for task in episode.tasks]
    kind = "expedited RCU stall" if episode.expedited else "RCU stall"
    return f"{kind} ({episode.flavor}) of {' and '.join(stalled) or 'unknown CPUs'}"


def _stop(episode: Stop) -> str:
    text = f"stop ({episode.reason}): {_ladder(episode.rungs, episode.retried, episode.failed)}"
    if episode.failed_unnamed:
        return f"{text}; some CPUs did not stop"
    return text if episode.failed_exact else f"{text}, or only some of them"


def _ladder(rungs: Iterable[str], retried: Collection[int], failed: Collection[int]) -> str:
    text = show_ladder(rungs)
    text += f"; the IPI did not stop {name_cpus(retried)}" if retried else ""
    return text + (f"; {name_cpus(failed)} did not stop" if failed else "")


def ladder_line(stop: LadderDocument) -> Line:
    """Return the ladder of a stop as a line of text."""
    return ((f"stop ladder: {_ladder(stop['rungs'], stop['retried'], stop['failed'])}", ""),)


def cpu_lines(cpus: Iterable[CpuDocument], width: int = 80) -> Iterator[Line]:
    """Yield the state and the registers of each CPU of a request."""
    for cpu in cpus:
        state = CpuState(cpu["state"])
        style = "red" if IN_TIME[state] is False else ""
        head = ((f"  cpu {cpu['cpu']:<4}", ""), (f"{state:10}", style))
        yield from wrapped(_details(cpu), width, " " * 20, head=head)


def _details(cpu: CpuDocument) -> str:
    masked = {True: "masked", False: "not masked", None: ""}[cpu["masked"]]
    if cpu["pstate"] and cpu["masked"] is None:
        masked = "masked unknown"
    registers = " ".join(
        f"{name} {value}" for name, value in (("pstate", cpu["pstate"]), ("pmr", cpu["pmr"])) if value
    )
    latency = "" if cpu["latency_seconds"] is None else f"after {cpu['latency_seconds']:.6f} s"
    return ", ".join(part for part in (masked, cpu["pc"], registers, latency) if part)
