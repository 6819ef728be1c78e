"""The shape of the JSON of `probe` and `explain`: `sdeictl.report/1` and its parts. Types only.

schemas/report-1.json has the same shape. Modules that every probe imports name these types only under
TYPE_CHECKING, because to make the classes takes time.
"""

from __future__ import annotations

from typing import TypedDict


class ToolDocument(TypedDict):
    """The program that made a document."""

    name: str
    version: str


class CoreDocument(TypedDict):
    """One kind of core."""

    core: str
    cpus: int


class HostDocument(TypedDict):
    """What identifies a host, without its name."""

    architecture: str | None
    kernel: str | None
    model: str | None
    tables: str | None
    cpus_online: int | None
    firmware: str | None
    soc: str | None
    virtual: str | None
    gic: str | None
    cores: list[CoreDocument]
    midr: str | None
    core: str | None
    exception_level: int | None
    vhe: bool | None


class BacktraceDocument(TypedDict):
    """How a request for backtraces is delivered."""

    path: str


class StopDocument(TypedDict):
    """How a panic or a reboot stops the CPUs."""

    ladder: list[str]


class CrashDocument(TypedDict):
    """Whether a crash leaves a dump, and how the registers of a stuck CPU get into it."""

    kdump_loaded: bool | None
    reserved_bytes: int | None
    post_notifiers: bool | None
    path: str


class LockupDocument(TypedDict):
    """Which detector notices a CPU that is stuck with its interrupts masked."""

    detector: str
    path: str


class ConsumersDocument(TypedDict):
    """The users of the NMI path in the kernel."""

    backtrace: BacktraceDocument
    stop: StopDocument
    crash: CrashDocument
    lockup: LockupDocument


class VerdictDocument(TypedDict):
    """Whether a stuck CPU can be reached, and how."""

    nmi_path: str
    ready: bool | None
    summary: str
    missing: list[str]
    hazards: list[str]
    consumers: ConsumersDocument


class FindingDocument(TypedDict):
    """The judgement on one check."""

    id: str
    title: str
    outcome: str
    severity: str
    seen: str
    wanted: str
    sources: list[str]
    remedy: str
    owner: str


class GapDocument(TypedDict):
    """A source that could not be read."""

    source: str
    kind: str
    detail: str


class ReportDocument(TypedDict):
    """`sdeictl.report/1`."""

    schema: str
    tool: ToolDocument
    generated_at: str
    host: HostDocument
    verdict: VerdictDocument
    findings: list[FindingDocument]
    gaps: list[GapDocument]


class CheckDocument(TypedDict):
    """One check in JSON."""

    id: str
    path: str
    title: str
    why: str
    wanted: str
    remedy: str
    owner: str
