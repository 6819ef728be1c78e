"""Reports and analyses as text: lines of styled pieces, kernel text never as markup."""

from collections.abc import Iterable, Iterator

from sdeictl.checks import CHECKS
from sdeictl.episodes import (
    Analysis,
    Backtrace,
    CrashKernel,
    Episode,
    HardLockup,
    HungTask,
    Panic,
    RcuStall,
    SoftLockup,
    Stop,
)
from sdeictl.report import Json, cpu_json
from sdeictl.verdict import REGISTERED

Piece = tuple[str, str]
"""(text, style); the style is one of rich's names, "" for none."""
Line = tuple[Piece, ...]

_READY_WORDS = {
    True: ("READY", "bold green"),
    False: ("NOT READY", "bold red"),
    None: ("UNKNOWN", "bold yellow"),
}
_OUTCOME_STYLES = {"pass": "green", "fail": "red", "unknown": "yellow", "not-applicable": "dim"}
_PATH_WORDS = {"none": "none (a plain IPI)"}
_OUTCOME_WORDS = {"not-applicable": "n/a"}


def render_report(report: Json) -> Iterator[Line]:
    """Return a report as text: the verdict first, then what to do, then the evidence."""
    verdict = report["verdict"]
    word, style = _READY_WORDS[verdict["ready"]]
    if verdict["nmi_path"] == "not-applicable":
        word, style = "NOT APPLICABLE", "bold"
    yield ((word, style), (f"  nmi path: {verdict['nmi_path']}", "bold"))
    yield ((verdict["summary"], ""),)
    for hazard in verdict["hazards"]:
        yield (("hazard: ", "bold yellow"), (hazard, ""))
    yield ((f"host: {_host_line(report['host'])}", ""),)
    if verdict["consumers"]["stop"]["ladder"]:
        yield ((f"stop ladder (panic, reboot): {' > '.join(verdict['consumers']['stop']['ladder'])}", ""),)
    if verdict["ready"] is None:
        yield from _gap_lines(report)
    yield from _missing_lines(report)
    if report["findings"]:
        yield ()
        yield (("Checks:", "bold"),)
    for finding in report["findings"]:
        outcome = finding["outcome"]
        shown = _OUTCOME_WORDS.get(outcome, outcome)
        yield ((f"  {shown:8}", _OUTCOME_STYLES[outcome]), (f"{finding['id']:22}{finding['seen']}", ""))
        if finding["sources"]:
            yield ((f"{'':10}{'':22}{', '.join(finding['sources'])}", "dim"),)
    if verdict["ready"] is not None:
        yield from _gap_lines(report)


def _gap_lines(report: Json) -> Iterator[Line]:
    if report["gaps"]:
        yield ()
        yield (("Could not read:", "bold"),)
    for gap in report["gaps"]:
        yield ((f"  {gap['source']}", ""), (f" ({gap['kind']}): {gap['detail']}", ""))


def _missing_lines(report: Json) -> Iterator[Line]:
    """What to mend for each path: the links that are broken, not the last one that only follows from them."""
    missing = set(report["verdict"]["missing"])
    if missing:
        yield ()
        yield (("One of the two paths is enough.", ""),)
    for path, last in REGISTERED.items():
        links = [check.id for check in CHECKS if check.path == path and check.id in missing]
        causes = [link for link in links if link != last] or links
        if causes:
            yield ((f"Missing for {path}:", "bold"),)
        for finding in report["findings"]:
            if finding["id"] in causes:
                yield ((f"  {finding['id']}", "red"), (f" ({finding['owner']}): {finding['seen']}", ""))
                yield ((f"      {finding['remedy']}", ""),)


def _host_line(host: Json) -> str:
    cpus = f"{host['cpus_online']} CPUs" if host["cpus_online"] else None
    core = host["core"] or (f"MIDR {host['midr']}" if host["midr"] else None)
    level = f"EL{host['exception_level']}" if host["exception_level"] else None
    if level and host["vhe"]:
        level += " with VHE"
    known = (
        host["model"], host["architecture"], f"Linux {host['kernel']}" if host["kernel"] else None,
        cpus, core, host["tables"], level,
    )  # fmt: skip
    return ", ".join(part for part in known if part) or "nothing is known about it"


def render_analysis(analysis: Analysis) -> Iterator[Line]:
    """Return an analysis as text, one paragraph an episode."""
    lost = f", {analysis.records_lost} lost" if analysis.records_lost else ""
    yield ((f"{analysis.records} kernel records{lost}, {len(analysis.episodes)} episodes", "bold"),)
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


def plain(lines: Iterable[Line]) -> str:
    """Return lines as plain text: kernel text with its control characters made visible."""
    return "".join(f"{''.join(_visible(text) for text, _ in line).rstrip()}\n" for line in lines)


def _visible(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def print_styled(lines: Iterable[Line]) -> None:
    """Print lines on the terminal, with colour where it can show them."""
    from rich.console import Console  # noqa: PLC0415 - only a terminal pays for it
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        console.print(Text.assemble(*((_visible(text), style) for text, style in line)))
