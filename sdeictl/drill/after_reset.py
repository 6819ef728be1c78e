"""What a drill that ended in a reset has proved, from what outlasted it. Pure."""

import re

from sdeictl.drill.judge_lockup import detection_json, find_requests, inside, stack_has
from sdeictl.drill.reset import Kind
from sdeictl.drill.result import DrillResult, cpu_words
from sdeictl.interlock.journal import Aftermath, Entry
from sdeictl.interlock.lkdtm import ENTRY, HARDLOCKUP, HARDLOCKUP_FRAME, STOP_FRAME
from sdeictl.interlock.writes import MARKER
from sdeictl.klog.analysis import analyze
from sdeictl.klog.document import stop_json
from sdeictl.klog.episodes import Stop
from sdeictl.klog.log import KernelLog, Record, parse_log
from sdeictl.probe.checks.check import FAIL, PASS, UNKNOWN
from sdeictl.probe.report import Json
from sdeictl.vmcore.core import Core, CoreCpu
from sdeictl.vmcore.report import (
    LastWords,
    doubtful_cpus,
    is_masked,
    missing_cpus,
    read_last_words,
    vmcore_json,
)


def find_drill(log: bytes, identifier: str) -> bytes | None:
    """Return what a log has from a drill's marker on; None if it has none."""
    at = log.rfind(f"{MARKER}{identifier}".encode())
    return None if at < 0 else log[log.rfind(b"\n", 0, at) + 1 :]


def judge_log(kind: Kind, entry: Entry, log: bytes) -> DrillResult:
    """Judge `stop` and `lockup --permanent` by the log from the drill's marker on."""
    assert entry.aftermath is not None  # noqa: S101 - these drills have one
    assert entry.aftermath.target is not None  # noqa: S101 - as above
    parsed = _one_boot(parse_log(log))
    result = DrillResult(UNKNOWN, (), UNKNOWN, records_lost=parsed.lost)
    if not any(record.text == ENTRY + HARDLOCKUP for record in parsed.records):
        return result._replace(reasons=(f"That CPU {entry.aftermath.target} was masked is not in the log.",))
    if kind.waits:
        return _judge_detection(parsed, entry.aftermath.target, result)
    return _judge_stop(parsed, entry.aftermath.target, result)


def _one_boot(log: KernelLog) -> KernelLog:
    """Return the records of the boot in which the drill fired: the next one has begun behind them."""
    first = log.records[0].boot if log.records else 0
    records: tuple[Record, ...] = tuple(record for record in log.records if record.boot == first)
    return KernelLog(records, sum(record.lost_before for record in records), log.relayed)


def _judge_stop(log: KernelLog, target: int, result: DrillResult) -> DrillResult:
    stop = next((found for found in analyze(log).episodes if isinstance(found, Stop)), None)
    if stop is None:
        reason = "The log ends before the CPUs were stopped."
        return result._replace(reasons=(reason,))
    result = result._replace(stop=stop_json(stop))
    if target in stop.failed:
        return result._replace(
            outcome=FAIL, path="none", reasons=(f"CPU {target} could not be stopped: {_ladder(stop)}.",)
        )
    if stop.failed or target not in stop.retried:
        return result._replace(reasons=(f"How CPU {target} was stopped is not in the log: {_ladder(stop)}.",))
    return result._replace(outcome=PASS, path=stop.rungs[-1])


def _ladder(stop: Stop) -> str:
    return "the ladder was " + " > ".join(stop.rungs)


def _judge_detection(log: KernelLog, target: int, result: DrillResult) -> DrillResult:
    episodes = analyze(log).episodes
    detection = detection_json(episodes, target, None)
    result = result._replace(detection=detection)
    requests = find_requests(episodes, target)
    if not detection["reports"]:
        waited = any(isinstance(episode, Stop) and episode.reason == "reset" for episode in episodes)
        reason = f"The hard-lockup detector did not report CPU {target}."
        return result._replace(outcome=FAIL if waited else UNKNOWN, reasons=(reason,))
    if not requests:
        return result._replace(reasons=(f"CPU {target} was detected; the log ends before it was asked.",))
    request = requests[0]
    answer = inside(request, target)
    result = result._replace(path=request.path, cpus=request.cpus, target=answer, in_window=False)
    if answer.state == "pending":
        return result._replace(reasons=("The log ends before the CPU could have answered.",))
    if answer.state != "backtrace" or answer.masked is False or not stack_has(answer, HARDLOCKUP_FRAME):
        reason = f"CPU {target} was detected, but its stack was not obtained ({answer.state})."
        return result._replace(outcome=FAIL, reasons=(reason,))
    return result._replace(outcome=PASS, in_window=True)


def judge_core(kind: Kind, entry: Entry, core: Core) -> DrillResult:
    """Judge `crash` by the dump."""
    assert entry.aftermath is not None  # noqa: S101 - these drills have one
    words = read_last_words(core.log)
    report = vmcore_json(core)
    result = DrillResult(
        UNKNOWN, (), _path(words, entry.aftermath.target), stop=report["stop"], vmcore=_summary(core, report)
    )
    if missing := missing_cpus(core):
        text = f"The dump has no registers of {cpu_words(missing)}."
        if words.stop and words.stop.failed:
            text += f" {cpu_words(words.stop.failed)} could not be stopped."
        return result._replace(outcome=FAIL, reasons=(text,))
    if doubtful_cpus(core) or not core.cpus or core.unmatched:
        return result._replace(reasons=("Which CPU's registers are missing cannot be told from the dump.",))
    wrong = [cpu for cpu in _masked_cpus(kind, entry.aftermath, core) if not _was_in_loop(kind, cpu, words)]
    if wrong:
        where = ", ".join(f"CPU {cpu.cpu} in {cpu.function or 'no function of the kernel'}" for cpu in wrong)
        return result._replace(outcome=FAIL, reasons=(f"Not where it was masked: {where}.",))
    return result._replace(outcome=PASS)


def _masked_cpus(kind: Kind, aftermath: Aftermath, core: Core) -> list[CoreCpu]:
    """Return the CPUs that had their interrupts masked when the kernel crashed."""
    if kind.wedges:
        return [cpu for cpu in core.cpus if cpu.cpu == aftermath.target]
    return [cpu for cpu in core.cpus if cpu.online and cpu.cpu != core.panic_cpu]


def _was_in_loop(kind: Kind, cpu: CoreCpu, words: LastWords) -> bool:
    frame = HARDLOCKUP_FRAME if kind.wedges else STOP_FRAME
    if not cpu.registers or not re.match(rf"{frame}\b", cpu.function or ""):
        return False
    # On a kernel that masks by priority the registers do not show it; the loop never unmasks.
    return is_masked(cpu.registers, words) is not False


def _path(words: LastWords, target: int | None) -> str:
    stop = words.stop
    if stop is None or stop.failed or not stop.retried or (target is not None and target not in stop.retried):
        return UNKNOWN
    return stop.rungs[-1]


def _summary(core: Core, report: Json) -> Json:
    """Return what of a dump a result keeps: no addresses, for it is readable by all."""
    return {
        "format": core.format,
        "kernel": core.kernel,
        "panic_cpu": core.panic_cpu,
        "missing": report["missing"],
        "cpus": [
            {
                "cpu": cpu["cpu"],
                "online": cpu["online"],
                "function": cpu["registers"] and cpu["registers"]["function"],
                "masked": cpu["registers"] and cpu["registers"]["masked"],
                "parked": cpu["parked"],
            }
            for cpu in report["cpus"]
        ],
    }
