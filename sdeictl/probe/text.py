"""Reports and checks as text."""

from collections.abc import Iterable, Iterator

from sdeictl.probe.checks.check import Check
from sdeictl.probe.checks.table import CHAIN
from sdeictl.probe.report import Json
from sdeictl.probe.verdict import REGISTERED
from sdeictl.text import Line

_READY_WORDS = {
    True: ("READY", "bold green"),
    False: ("NOT READY", "bold red"),
    None: ("UNKNOWN", "bold yellow"),
}
_OUTCOME_STYLES = {"pass": "green", "fail": "red", "unknown": "yellow", "not-applicable": "dim"}
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
    chain = {check.id for check in CHAIN}
    for title, findings in (
        ("The chain:", [finding for finding in report["findings"] if finding["id"] in chain]),
        ("Around it:", [finding for finding in report["findings"] if finding["id"] not in chain]),
    ):
        yield from _finding_lines(title, findings)
    if verdict["ready"] is not None:
        yield from _gap_lines(report)


def _finding_lines(title: str, findings: list[Json]) -> Iterator[Line]:
    if findings:
        yield ()
        yield ((title, "bold"),)
    for finding in findings:
        outcome = finding["outcome"]
        shown = _OUTCOME_WORDS.get(outcome, outcome)
        yield ((f"  {shown:8}", _OUTCOME_STYLES[outcome]), (f"{finding['id']:22}{finding['seen']}", ""))
        if finding["sources"]:
            yield ((f"{'':10}{'':22}{', '.join(finding['sources'])}", "dim"),)


def render_checks(checks: Iterable[Check]) -> Iterator[Line]:
    """Return all checks, a line each."""
    for check in checks:
        yield ((f"{check.id:22}", "bold"), (f"{check.path or '-':12}{check.owner:10}{check.title}", ""))


def render_check(check: Check) -> Iterator[Line]:
    """Return what a check asks, why, and what mends it."""
    yield ((check.id, "bold"), (f": {check.title}.", ""))
    yield ((check.why, ""),)
    yield ()
    needed = f"the nmi path {check.path} needs it" if check.path else "the verdict does not hang on it"
    for name, text in (
        ("wanted", check.wanted), ("remedy", check.remedy), ("owner", check.owner), ("chain", needed),
    ):  # fmt: skip
        yield ((f"{name}: ", "bold"), (text, ""))


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
        links = [check.id for check in CHAIN if check.path == path and check.id in missing]
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
