"""An analysis as `sdeictl.analysis/1` (schemas/analysis-1.json) and as text."""

from collections.abc import Iterable, Iterator

from sdeictl.klog.episodes import (
    KINDS,
    Analysis,
    Backtrace,
    CpuAnswer,
    CrashKernel,
    Episode,
    HardLockup,
    HungTask,
    Panic,
    RcuStall,
    SoftLockup,
    Stop,
)
from sdeictl.probe.report import Json
from sdeictl.text import Line

ANALYSIS_SCHEMA = "sdeictl.analysis/1"
_PATH_WORDS = {"none": "none (a plain IPI)"}


def analysis_json(analysis: Analysis) -> Json:
    """Return an analysis as its JSON document."""
    return {
        "schema": ANALYSIS_SCHEMA,
        "records": analysis.records,
        "records_lost": analysis.records_lost,
        "episodes": [_episode(episode) for episode in analysis.episodes],
    }


def _episode(episode: Episode) -> Json:
    fields: Json = {"kind": KINDS[type(episode)]}
    for name, value in episode._asdict().items():
        fields[name] = list(value) if isinstance(value, tuple) else value
    if isinstance(episode, Backtrace):
        fields["cpus"] = [cpu_json(cpu) for cpu in episode.cpus]
    return fields


def cpu_json(cpu: CpuAnswer) -> Json:
    """Return one CPU's answer as JSON has it."""
    fields = cpu._asdict()
    del fields["frames"]
    return fields


def stop_json(stop: Stop) -> Json:
    """Return the ladder of a stop as results of drills and reports on cores have it."""
    return {"rungs": list(stop.rungs), "retried": list(stop.retried), "failed": list(stop.failed)}


def ladder_line(stop: Json) -> Line:
    """Return such a ladder as a line of text."""
    retried, failed = (", ".join(map(str, stop[name])) for name in ("retried", "failed"))
    words = f"stop ladder: {' > '.join(stop['rungs'])}"
    words += f"; the IPI did not stop CPUs {retried}" if retried else ""
    words += f"; not stopped at all: CPUs {failed}" if failed else ""
    return ((words, ""),)


def render_analysis(analysis: Analysis) -> Iterator[Line]:
    """Return an analysis as text, one paragraph an episode."""
    lost = f", {analysis.records_lost} lost" if analysis.records_lost else ""
    count = len(analysis.episodes)
    episodes = f"{count} episode{'s' * (count != 1)}"
    yield ((f"{analysis.records} kernel records{lost}, {episodes}", "bold"),)
    several_boots = any(episode.boot for episode in analysis.episodes)
    for episode in analysis.episodes:
        at = "" if episode.at is None else f"{episode.at:.6f} s"
        boot = f"boot {episode.boot} " if several_boots else ""
        yield ()
        yield ((f"{boot}{at} ".lstrip(), "dim"), (_headline(episode), "bold"))
        if isinstance(episode, Backtrace):
            yield from cpu_lines(map(cpu_json, episode.cpus))


def _headline(episode: Episode) -> str:
    match episode:
        case Backtrace():
            return (
                f"backtrace ({episode.trigger}): CPU {episode.initiator} asked CPUs {_list(episode.targets)},"
                f" path {_PATH_WORDS.get(episode.path, episode.path)}"
            )
        case HardLockup():
            stack = "with its stack" if episode.has_stack else "without its stack"
            cause = "" if episode.secondary_to is None else f"; it was waiting for CPU {episode.secondary_to}"
            return f"hard lockup of CPU {episode.cpu}, detected by CPU {episode.detected_by}, {stack}{cause}"
        case Stop():
            retried = f"; the IPI did not stop CPUs {_list(episode.retried)}" if episode.retried else ""
            failed = f"; never stopped: CPUs {_list(episode.failed)}" if episode.failed else ""
            return f"stop ({episode.reason}): {' > '.join(episode.rungs)}{retried}{failed}"
        case Panic():
            return f"panic: {episode.message}"
        case CrashKernel():
            return f"crash kernel {'started' if episode.handed_over else 'being started'}"
        case SoftLockup():
            return f"soft lockup of CPU {episode.cpu} for {episode.seconds} s in {episode.task}"
        case RcuStall():
            return f"RCU stall ({episode.flavor}) of CPUs {_list(episode.cpus)}"
        case HungTask():
            return f"hung task {episode.task}:{episode.pid} for {episode.seconds} s"


def cpu_lines(cpus: Iterable[Json]) -> Iterator[Line]:
    """Return what each CPU did about a request, one line a CPU."""
    masked = {True: "masked", False: "not masked", None: ""}
    for cpu in cpus:
        silent = cpu["state"] in ("silent", "late")
        latency = "" if cpu["latency_seconds"] is None else f"after {cpu['latency_seconds']:.6f} s"
        registers = " ".join(f"{name} {cpu[name]}" for name in ("pstate", "pmr") if cpu[name])
        unknown = "masked unknown" if cpu["pstate"] and cpu["masked"] is None else masked[cpu["masked"]]
        details = "  ".join(part for part in (unknown, cpu["pc"], registers, latency) if part)
        yield ((f"  cpu {cpu['cpu']:<4}", ""), (f"{cpu['state']:10}", "red" if silent else ""), (details, ""))


def _list(cpus: Iterable[int]) -> str:
    return ",".join(map(str, cpus)) or "-"
