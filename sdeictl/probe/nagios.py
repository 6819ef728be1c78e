"""A report in the dialect of monitoring plugins: one line, statuses 0 to 3 (their guidelines)."""

from sdeictl.probe.report import Json

OK, WARNING, CRITICAL, UNKNOWN = range(4)
_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")


def plugin_status(report: Json) -> int:
    """Return 0 ready, 1 ready with a hazard, 2 not ready, 3 could not tell."""
    verdict = report["verdict"]
    if verdict["ready"] is None:
        return UNKNOWN
    if not verdict["ready"]:
        return CRITICAL
    return WARNING if verdict["hazards"] else OK


def plugin_line(report: Json) -> str:
    """Return the line: status, verdict, what is missing or can hurt, and counts as performance data."""
    verdict = report["verdict"]
    text = f"SDEICTL {_WORDS[plugin_status(report)]} - nmi path {verdict['nmi_path']}: {verdict['summary']}"
    if verdict["missing"]:
        text += f" Missing: {', '.join(verdict['missing'])}."
    if verdict["hazards"]:
        text += f" Hazard: {verdict['hazards'][0]}."
    # A bar begins the performance data, a line feed the long text.
    text = text.replace("|", "/").replace("\n", " ")
    counts = " ".join(f"{name}={len(verdict[name])}" for name in ("missing", "hazards"))
    return f"{text} | {counts} gaps={len(report['gaps'])}\n"
