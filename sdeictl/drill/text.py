"""Drills as text, in lines of styled pieces."""

from collections.abc import Iterable, Iterator

from sdeictl.drill.plan import DRILLS
from sdeictl.formats.interrupts import BACKTRACE_ROW
from sdeictl.interlock.refusals import Reason
from sdeictl.klog.document import cpu_lines, ladder_line
from sdeictl.probe.report import Json
from sdeictl.text import Line

_OUTCOMES = {
    "pass": ("PASS", "bold green"),
    "fail": ("FAIL", "bold red"),
    "unknown": ("UNKNOWN", "bold yellow"),
    "lost": ("CPU LOST", "bold white on red"),
    "refused": ("REFUSED", "bold yellow"),
}

_WHAT = {
    ("backtrace", None): "backtrace of every CPU",
    ("backtrace", "masked"): "backtrace of a masked CPU",
    ("lockup", None): "lockup of a CPU for a bounded time",
    ("lockup", "permanent"): "lockup of a CPU for good",
    ("stop", None): "reset with a masked CPU",
    ("crash", "wedged"): "crash with a masked CPU",
    ("crash", "all-masked"): "crash with all CPUs masked",
    ("crash", "hardlockup-panic"): "crash by the hard-lockup detector",
}


def render_result(result: Json) -> Iterator[Line]:
    """Return a result as text: the outcome, why, then what each CPU did."""
    word, style = _OUTCOMES[result["outcome"]]
    if result["lost_cpus"]:
        cpus = ", ".join(map(str, result["lost_cpus"]))
        yield ((f"*** CPU {cpus} LOST: NOTHING RUNS THERE ANY MORE. THIS HOST NEEDS A RESET. ***", style),)
    yield ((word, style), (f"  {_WHAT[result['drill'], result['variant']]}, path {result['path']}", "bold"))
    for reason in result["reasons"]:
        yield ((reason, ""),)
    target, window = result["target"], result["window"]
    if target and window and target["in_window"]:
        mask = "masked" if target["masked"] else "its priority mask not captured, its stack inside the window"
        yield ((f"CPU {target['cpu']} answered from inside the window ({window['provider']}): {mask}.", ""),)
    if seen := _path_words(result["path_evidence"]):
        yield ((f"path {result['path']}: {seen}", ""),)
    yield from cpu_lines(result["cpus"])
    yield from _reset_lines(result)
    if result["records_lost"]:
        yield ((f"{result['records_lost']} records of the kernel log were lost", "yellow"),)
    if result["evidence"]:
        yield ((f"evidence: {result['evidence']}", "dim"),)


def _reset_lines(result: Json) -> Iterator[Line]:
    """Return what only drills of the hard-lockup detector, of resets and of crashes have."""
    if detection := result.get("detection"):
        by = f", first by CPU {detection['detected_by']}" if detection["reports"] else ""
        yield ((f"reported by the hard-lockup detector: {detection['reports']} times{by}", ""),)
    if stop := result.get("stop"):
        yield ladder_line(stop)
    for cpu in (result.get("vmcore") or {}).get("cpus", ()):
        if cpu["online"] is not False:
            where = cpu["function"] or ("not in the dump" if cpu["masked"] is None else "outside the kernel")
            masked = " masked" if cpu["masked"] else ""
            yield ((f"  cpu {cpu['cpu']:<4}", "bold"), (f"{where}{masked}", ""))


def _path_words(evidence: Json) -> str:
    row = {True: "went up", False: "stayed flat", None: "is not there"}[evidence["ipi_row_moved"]]
    if not evidence["answered"]:
        return ""
    words = [f'the row "{BACKTRACE_ROW}" {row}']
    if evidence["asking_stack"]:
        words.append(f"the asking CPU was in {evidence['asking_stack']}")
    if evidence["priority_mask"]:
        words.append("a priority mask was captured")
    return ", ".join(words)


def render_plan(lines: Iterable[tuple[str, str]]) -> Iterator[Line]:
    """Return a plan as text."""
    for what, sentence in lines:
        yield ((f"{what + ':':10}", "bold"), (sentence, ""))


def render_reasons(reasons: Iterable[Reason]) -> Iterator[Line]:
    """Return all reasons to refuse."""
    yield (("refused:", "bold yellow"),)
    for reason in reasons:
        yield (("  " + reason.text, ""), (f" ({reason.kind})", "dim"))


def render_drills() -> Iterator[Line]:
    """Return the table of drills."""
    for drill in DRILLS:
        yield ((f"sdeictl drill {drill.name}", "bold"),)
        for word, text in (("proves", drill.proves), ("risks", drill.risks), ("needs", drill.needs)):
            yield ((f"  {word:7}", "dim"), (text, ""))


def render_status(status: Json) -> Iterator[Line]:
    """Return what has been drilled here, and whether something is left to put back."""
    pending = status["pending"]
    if pending:
        yield (("not ended: ", "bold yellow"), (f"{pending['id']}; {_pending_words(pending)}", ""))
    if status["armed_seconds"]:
        left = f"one drill that can cost this host may begin, for {status['armed_seconds']:.0f} s more"
        yield (("armed: ", "bold yellow"), (left, ""))
    for path in status["unreadable"]:
        yield ((f"not a result: {path}", "yellow"),)
    for result in status["results"]:
        word, style = _OUTCOMES.get(result["outcome"], (str(result["outcome"]), ""))
        variant = f" {result['variant']}" if result["variant"] else ""
        stale = ", stale: the host has another kernel or firmware now" if result.get("stale") else ""
        kernel = (result.get("host") or {}).get("kernel")
        name = f"{result['drill']}{variant}, path {result['path']}, Linux {kernel}, {result['id']}{stale}"
        yield ((f"{word:8}", style), (f" {name}", ""))
    if not pending and not status["results"] and not status["unreadable"]:
        yield (("no drill has been run here", ""),)


def _pending_words(pending: Json) -> str:
    if pending["fired"] and not pending["this_boot"]:
        return "it has reset the host: `sdeictl drill resume` judges it by what outlasted that"
    if not pending["this_boot"]:
        return "it was ended by a reboot: `sdeictl drill resume`"
    return f"unless process {pending['pid']} still runs it, `sdeictl drill resume` puts back what it left"
