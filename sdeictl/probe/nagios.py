"""A report as the output of a monitoring plugin: one line, and a status from 0 to 3.

Monitoring Plugins Development Guidelines, sections "Plugin Output for Nagios" and "Plugin Return Codes".
"""

from __future__ import annotations

from sdeictl.probe.document import ReportDocument

OK, WARNING, CRITICAL, UNKNOWN = range(4)
_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")


def plugin_status(report: ReportDocument) -> int:
    """Return the status: 0 ready, 1 ready with a hazard, 2 not ready, 3 could not tell."""
    verdict = report["verdict"]
    if verdict["ready"] is None:
        return UNKNOWN
    if not verdict["ready"]:
        return CRITICAL
    return WARNING if verdict["hazards"] else OK


def plugin_line(report: ReportDocument) -> str:
    """Return the line: status, verdict, broken links, first hazard, and counts as performance data."""
    verdict = report["verdict"]
    text = f"SDEICTL {_WORDS[plugin_status(report)]} - NMI path {verdict['nmi_path']}: {verdict['summary']}"
    if verdict["missing"]:
        text += f" Missing: {', '.join(verdict['missing'])}."
    if verdict["hazards"]:
        text += f" Hazard: {verdict['hazards'][0].rstrip('.')}."
    # A vertical bar begins the performance data, and a line feed begins the long text.
    text = text.replace("|", "/").replace("\n", " ")
    counts = f"missing={len(verdict['missing'])} hazards={len(verdict['hazards'])}"
    return f"{text} | {counts} gaps={len(report['gaps'])}\n"
