"""Judges a drill that took the host down, after the reboot, from the evidence that survived. Pure."""

from __future__ import annotations

import re

from sdeictl.drill.catalog import Reset
from sdeictl.drill.judge_lockup import answer_of, detection_document, find_requests, stack_has
from sdeictl.drill.result import DrillResult
from sdeictl.interlock.journal import Aftermath
from sdeictl.interlock.lkdtm import HARDLOCKUP, HARDLOCKUP_FRAME, STOP_FRAME
from sdeictl.interlock.results import DumpDocument
from sdeictl.klog.analysis import analyze
from sdeictl.klog.document import ladder_document
from sdeictl.klog.episodes import Backtrace, Panic, Stop
from sdeictl.klog.log import parse_log
from sdeictl.klog.messages.drills import LKDTM_ENTRY
from sdeictl.klog.records import KernelLog
from sdeictl.klog.words import IN_TIME, CpuState, NmiPath, StopReason
from sdeictl.probe.drills import DrillOutcome
from sdeictl.text import name_cpus, show_ladder
from sdeictl.vmcore.core import Core, CoreCpu
from sdeictl.vmcore.report import (
    CrashLog,
    VmcoreDocument,
    is_masked,
    missing_cpus,
    read_crash_log,
    unknown_cpus,
    vmcore_document,
)

UNKNOWN = DrillResult(DrillOutcome.UNKNOWN)


def judge_log(reset: Reset, target: int, log: bytes) -> DrillResult:
    """Judge `stop` and `lockup --permanent` by the log from the drill's marker on."""
    parsed = _first_boot(parse_log(log))
    result = UNKNOWN._replace(records_lost=parsed.lost)
    if not any(record.text == LKDTM_ENTRY + HARDLOCKUP for record in parsed.records):
        text = f"The log has no evidence that CPU {target} was masked."
        return result._replace(reasons=(text,))
    if reset.waits:
        return _judge_detection(parsed, target, result)
    return _judge_stop(parsed, target, result)


def judge_interrupted(target: int | None, log: bytes) -> DrillResult:
    """Judge a drill that should have left the host up, and in which the host went down.

    `log` is what survived of the kernel log, from the drill's marker on; b"" if nothing did. The host is lost
    unless the log shows that every CPU that was asked had answered.
    """
    parsed = _first_boot(parse_log(log))
    episodes = analyze(parsed).episodes
    lost = DrillResult(
        DrillOutcome.LOST, lost_cpus=() if target is None else (target,), records_lost=parsed.lost
    )
    panic = next((each for each in episodes if isinstance(each, Panic)), None)
    if panic:
        return lost._replace(reasons=(f"The host panicked during the drill: {panic.message}.",))
    requests = [each for each in episodes if isinstance(each, Backtrace)]
    if requests and all(IN_TIME[cpu.state] for each in requests for cpu in each.cpus):
        why = "The host went down after every CPU had answered; the log does not show why."
        return UNKNOWN._replace(reasons=(why,), cpus=requests[0].cpus, records_lost=parsed.lost)
    where = "while the drill ran"
    if target is not None:
        where = f"while CPU {target} was masked, or before it was seen alive again"
    return lost._replace(reasons=(f"The host went down {where}.",))


def _first_boot(log: KernelLog) -> KernelLog:
    """Return the records of the boot in which the drill fired: the log may go on into the next boot."""
    first = log.records[0].boot if log.records else 0
    records = tuple(record for record in log.records if record.boot == first)
    return KernelLog(records, sum(record.lost_before for record in records), log.relayed)


def _judge_stop(log: KernelLog, target: int, result: DrillResult) -> DrillResult:
    stop = next((found for found in analyze(log).episodes if isinstance(found, Stop)), None)
    if stop is None:
        return result._replace(reasons=("The log ends before the kernel stopped the CPUs.",))
    result = result._replace(stop=ladder_document(stop))
    ladder = f"the ladder was {show_ladder(stop.rungs)}"
    if target in stop.failed:
        reasons = (f"The kernel could not stop CPU {target}: {ladder}.",)
        return result._replace(outcome=DrillOutcome.FAIL, path=NmiPath.NONE, reasons=reasons)
    if stop.failed or target not in stop.retried:
        reasons = (f"The log does not show how the kernel stopped CPU {target}: {ladder}.",)
        return result._replace(reasons=reasons)
    return result._replace(outcome=DrillOutcome.PASS, path=NmiPath(stop.rungs[-1]))


def _judge_detection(log: KernelLog, target: int, result: DrillResult) -> DrillResult:
    episodes = analyze(log).episodes
    detection = detection_document(episodes, target, None)
    result = result._replace(detection=detection)
    requests = find_requests(episodes, target)
    if not detection["reports"]:
        waited = any(isinstance(each, Stop) and each.reason is StopReason.RESET for each in episodes)
        outcome = DrillOutcome.FAIL if waited else DrillOutcome.UNKNOWN
        reasons = (f"The hard-lockup detector did not report CPU {target}.",)
        return result._replace(outcome=outcome, reasons=reasons)
    if not requests:
        reasons = (f"The detector reported CPU {target}; the log ends before the kernel asked that CPU.",)
        return result._replace(reasons=reasons)
    request = requests[0]
    answer = answer_of(request, target)
    result = result._replace(path=request.path, cpus=request.cpus, target=answer, in_window=False)
    if answer.state is CpuState.PENDING:
        return result._replace(reasons=("The log ends before the CPU could have answered.",))
    answered = answer.state is CpuState.BACKTRACE and answer.masked is not False
    if not answered or not stack_has(answer, HARDLOCKUP_FRAME):
        reasons = (f"The detector reported CPU {target}, but got no stack ({answer.state}).",)
        return result._replace(outcome=DrillOutcome.FAIL, reasons=reasons)
    return result._replace(outcome=DrillOutcome.PASS, in_window=True)


def judge_dump(reset: Reset, aftermath: Aftermath, core: Core) -> DrillResult:
    """Judge `crash` by the dump."""
    log = read_crash_log(core.log)
    document = vmcore_document(core)
    result = UNKNOWN._replace(
        path=_path(log, aftermath.target), stop=document["stop"], dump=_without_addresses(document)
    )
    if missing := missing_cpus(core):
        text = f"The dump has no registers of {name_cpus(missing)}."
        if log.stop and log.stop.failed:
            text += f" The kernel could not stop {name_cpus(log.stop.failed)}."
        return result._replace(outcome=DrillOutcome.FAIL, reasons=(text,))
    if unknown_cpus(core) or not core.cpus or core.unmatched:
        return result._replace(reasons=("The dump does not show which CPUs left no registers.",))
    wrong = [cpu for cpu in _masked_cpus(reset, aftermath, core) if not _was_in_loop(reset, cpu, log)]
    if wrong:
        where = ", ".join(f"CPU {cpu.cpu} in {cpu.function or 'no kernel function'}" for cpu in wrong)
        reasons = (f"Not in the loop that masked it: {where}.",)
        return result._replace(outcome=DrillOutcome.FAIL, reasons=reasons)
    return result._replace(outcome=DrillOutcome.PASS)


def _masked_cpus(reset: Reset, aftermath: Aftermath, core: Core) -> list[CoreCpu]:
    """Return the CPUs that had their interrupts masked when the kernel crashed."""
    if reset.wedges:
        return [cpu for cpu in core.cpus if cpu.cpu == aftermath.target]
    return [cpu for cpu in core.cpus if cpu.online and cpu.cpu != core.panic_cpu]


def _was_in_loop(reset: Reset, cpu: CoreCpu, log: CrashLog) -> bool:
    frame = HARDLOCKUP_FRAME if reset.wedges else STOP_FRAME
    if not cpu.registers or not re.match(rf"{frame}\b", cpu.function or ""):
        return False
    # If the kernel masks by priority, the registers do not show it; the loop itself never unmasks.
    return is_masked(cpu.registers, log) is not False


def _path(log: CrashLog, target: int | None) -> NmiPath:
    stop = log.stop
    if stop is None or stop.failed or not stop.retried or (target is not None and target not in stop.retried):
        return NmiPath.UNKNOWN
    return NmiPath(stop.rungs[-1])


def _without_addresses(document: VmcoreDocument) -> DumpDocument:
    """Return what a result keeps of a dump: no addresses, because everybody may read it."""
    return {
        "format": document["format"],
        "kernel": document["kernel"],
        "panic_cpu": document["panic_cpu"],
        "missing": document["missing"],
        "cpus": [
            {
                "cpu": cpu["cpu"],
                "online": cpu["online"],
                "function": cpu["registers"]["function"] if cpu["registers"] else None,
                "masked": cpu["registers"]["masked"] if cpu["registers"] else None,
                "parked": cpu["parked"],
            }
            for cpu in document["cpus"]
        ],
    }
