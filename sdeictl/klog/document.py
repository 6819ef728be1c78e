"""`sdeictl.analysis/1`: an analysis as a JSON document, with the shape of schemas/analysis-1.json."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TypedDict

from sdeictl.klog.episodes import KINDS, Analysis, Backtrace, CpuAnswer, Episode, LogFileSummary, Stop

ANALYSIS_SCHEMA = "sdeictl.analysis/1"


class CpuDocument(TypedDict):
    """The part of one CPU in one backtrace request."""

    cpu: int
    state: str
    masked: bool | None
    pstate: str | None
    pmr: str | None
    pc: str | None
    latency_seconds: float | None


class LadderDocument(TypedDict):
    """The ladder of a stop in drill results and in reports on crash dumps."""

    rungs: list[str]
    retried: list[int]
    failed: list[int]


class FileDocument(TypedDict):
    """One file of a log."""

    name: str
    records: int
    records_lost: int
    notes: list[str]


class AnalysisDocument(TypedDict):
    """`sdeictl.analysis/1`."""

    schema: str
    architecture: str | None
    files: list[FileDocument]
    records: int
    records_lost: int
    notes: list[str]
    episodes: list[dict[str, object]]
    """Each has its `kind` and the fields of that kind in klog/episodes.py."""


def analysis_document(analysis: Analysis) -> AnalysisDocument:
    """Return an analysis as its JSON document."""
    return {
        "schema": ANALYSIS_SCHEMA,
        "architecture": analysis.architecture,
        "files": [_file(file) for file in analysis.files],
        "records": analysis.records,
        "records_lost": analysis.records_lost,
        "notes": list(analysis.notes),
        "episodes": [_episode(episode) for episode in analysis.episodes],
    }


def analysis_json(analysis: Analysis) -> Iterator[str]:
    """Yield the document as JSON text, episode by episode: all of them at once can be large."""
    document = json.dumps(analysis_document(analysis._replace(episodes=())), indent=2)
    if not analysis.episodes:
        yield f"{document}\n"
        return
    yield document.removesuffix("]\n}")
    separator = "\n    "
    for episode in analysis.episodes:
        yield separator + json.dumps(_episode(episode), indent=2).replace("\n", "\n    ")
        separator = ",\n    "
    yield "\n  ]\n}\n"


def _file(file: LogFileSummary) -> FileDocument:
    return {
        "name": file.name,
        "records": file.records,
        "records_lost": file.records_lost,
        "notes": list(file.notes),
    }


def _episode(episode: Episode) -> dict[str, object]:
    fields: dict[str, object] = {"kind": KINDS[type(episode)], "file": episode.file}
    for name, value in episode._asdict().items():
        fields[name] = list(value) if isinstance(value, tuple) else value
    if isinstance(episode, Backtrace):
        fields["cpus"] = [cpu_document(cpu) for cpu in episode.cpus]
    return fields


def cpu_document(cpu: CpuAnswer) -> CpuDocument:
    """Return the answer of one CPU as its JSON document."""
    return {
        "cpu": cpu.cpu,
        "state": cpu.state,
        "masked": cpu.masked,
        "pstate": cpu.pstate,
        "pmr": cpu.pmr,
        "pc": cpu.pc,
        "latency_seconds": cpu.latency_seconds,
    }


def ladder_document(stop: Stop) -> LadderDocument:
    """Return the ladder of a stop as its JSON document."""
    return {"rungs": list(stop.rungs), "retried": list(stop.retried), "failed": list(stop.failed)}
