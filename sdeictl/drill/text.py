"""Drills as text: results, the status, and the list of drills."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl.drill.catalog import DRILLS, find_variant
from sdeictl.drill.status import PendingDocument, StatusDocument, StoredDocument
from sdeictl.formats.interrupts import BACKTRACE_ROW
from sdeictl.interlock.results import DrillDocument, DumpCpuDocument, EvidenceDocument
from sdeictl.klog.render import cpu_lines, ladder_line
from sdeictl.probe.drills import DRILL_OUTCOMES, DrillOutcome
from sdeictl.text import Line, list_cpus


def render_result(result: DrillDocument) -> Iterator[Line]:
    """Return a result as text: the outcome, why, then what each CPU did."""
    look = DRILL_OUTCOMES[DrillOutcome(result["outcome"])]
    if result["lost_cpus"]:
        cpus = list_cpus(result["lost_cpus"])
        text = f"*** CPU {cpus} LOST: NOTHING RUNS THERE ANY MORE. THIS HOST NEEDS A RESET. ***"
        yield ((text, look.style),)
    title = find_variant(result["drill"], result["variant"]).title
    yield ((look.text, look.style), (f"  {title}, path {result['path']}", "bold"))
    for reason in result["reasons"]:
        yield ((reason, ""),)
    yield from _target_lines(result)
    if seen := _path_words(result["path_evidence"]):
        yield ((f"path {result['path']}: {seen}", ""),)
    yield from cpu_lines(result["cpus"])
    yield from _reset_lines(result)
    if result["records_lost"]:
        yield ((f"{result['records_lost']} records of the kernel log were lost", "yellow"),)
    if result["evidence"]:
        yield ((f"evidence: {result['evidence']}", "dim"),)


def _target_lines(result: DrillDocument) -> Iterator[Line]:
    target, window = result["target"], result["window"]
    if target and window and target["in_window"]:
        mask = "masked" if target["masked"] else "priority mask not captured, stack from inside the window"
        yield ((f"CPU {target['cpu']} answered from inside the window ({window['provider']}): {mask}.", ""),)


def _reset_lines(result: DrillDocument) -> Iterator[Line]:
    """Return what only drills of the hard-lockup detector, of resets and of crashes have."""
    if detection := result.get("detection"):
        by = f", first by CPU {detection['detected_by']}" if detection["reports"] else ""
        yield ((f"reported by the hard-lockup detector: {detection['reports']} times{by}", ""),)
    if stop := result.get("stop"):
        yield ladder_line(stop)
    dump = result.get("vmcore")
    for cpu in dump["cpus"] if dump else ():
        if cpu["online"] is not False:
            yield ((f"  cpu {cpu['cpu']:<4}", "bold"), (_dump_words(cpu), ""))


def _dump_words(cpu: DumpCpuDocument) -> str:
    where = cpu["function"] or ("not in the dump" if cpu["masked"] is None else "outside the kernel")
    return f"{where}{' masked' if cpu['masked'] else ''}"


def _path_words(evidence: EvidenceDocument) -> str:
    if not evidence["answered"]:
        return ""
    row = {True: "went up", False: "stayed flat", None: "does not exist"}[evidence["ipi_row_moved"]]
    words = [f'the row "{BACKTRACE_ROW}" {row}']
    if evidence["asking_stack"]:
        words.append(f"the asking CPU was in {evidence['asking_stack']}")
    if evidence["priority_mask"]:
        words.append("a priority mask was captured")
    return ", ".join(words)


def render_drills() -> Iterator[Line]:
    """Return the list of drills."""
    for drill in DRILLS:
        yield ((f"sdeictl drill {drill.command}", "bold"),)
        for word, text in (("proves", drill.proves), ("risks", drill.risks), ("needs", drill.needs)):
            yield ((f"  {word:7}", "dim"), (text, ""))


def render_status(status: StatusDocument) -> Iterator[Line]:
    """Return which drills have run here, and whether something is left to restore."""
    pending = status["pending"]
    if pending:
        yield (("not ended: ", "bold yellow"), (f"{pending['id']}; {_pending_words(pending)}", ""))
    if status["armed_seconds"]:
        left = f"one drill that can take this host down may begin, for {status['armed_seconds']:.0f} s more"
        yield (("armed: ", "bold yellow"), (left, ""))
    for path in status["unreadable"]:
        yield ((f"not a result: {path}", "yellow"),)
    for result in status["results"]:
        look = DRILL_OUTCOMES[DrillOutcome(result["outcome"])]
        yield ((f"{look.text:8}", look.style), (f" {_result_words(result)}", ""))
    if not pending and not status["results"] and not status["unreadable"]:
        yield (("no drill has been run here", ""),)


def _result_words(result: StoredDocument) -> str:
    variant = f" {result['variant']}" if result["variant"] else ""
    stale = ", stale: the host has another kernel or firmware now" if result["stale"] else ""
    kernel = (result["host"] or {}).get("kernel")
    return f"{result['drill']}{variant}, path {result['path']}, Linux {kernel}, {result['id']}{stale}"


def _pending_words(pending: PendingDocument) -> str:
    if pending["fired"] and not pending["this_boot"]:
        return "it took the host down: `sdeictl drill resume` judges it from the evidence that survived"
    if not pending["this_boot"]:
        return "a reboot ended it: `sdeictl drill resume`"
    return f"unless process {pending['pid']} still runs it, `sdeictl drill resume` restores what it left"
