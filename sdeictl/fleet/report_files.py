"""A fleet in files: reports of `sdeictl probe`, captures, reports of sos. Each file is one host."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from sdeictl.errors import SdeictlError, Status, error_text
from sdeictl.fleet.tallies import (
    DETECTOR,
    LINKS,
    NEVER_OUTLIERS,
    Group,
    HostRow,
    KdumpCounts,
    Link,
    Split,
    Tallies,
)
from sdeictl.klog.words import NmiPath
from sdeictl.probe.document import FindingDocument, ReportDocument
from sdeictl.probe.stored_report import complete_report, report_at
from sdeictl.probe.words import Outcome
from sdeictl.text import NamedTuple

LABELS: Mapping[str, str] = {
    "kernel": "kernel", "firmware": "firmware", "product": "model", "tables": "tables", "gic": "gic",
    "midr": "midr", "soc": "soc", "virtual": "virtual", "architecture": "architecture",
}  # fmt: skip
"""The labels that a report has, and the keys of its `host`."""
_ENDINGS = (".gz", ".xz", ".bz2", ".tar", ".tgz", ".txz", ".json")
_HOST_DIRECTORIES = ("proc", "sys", "sos_commands")
"""A directory with one of these is a host; any other holds files of hosts."""
MAX_LABEL_CHARACTERS = 1000
MAX_FINDINGS = 500
"""A report has a finding for each check; a later version has more of them."""
MAX_GAPS = 20
"""How many unusable files a report names."""


Progress = Callable[[int, int], None]


class _Host(NamedTuple):
    """What is kept of one report."""

    name: str
    at: float
    """When it was made, in seconds since 1970."""
    group: Group
    path: str
    ready: bool | None
    hazard: bool
    kdump: bool | None
    outcomes: Mapping[str, str]
    """The outcome of each check."""
    broken: tuple[Link, ...]


def check_labels(labels: Sequence[str]) -> None:
    """Raise ValueError if a report has no such label."""
    for label in labels:
        if label not in LABELS:
            raise ValueError(f"a report has no label {label!r}; it has: {', '.join(LABELS)}")


class FileSource:
    """A fleet in files. It reads them when it is made."""

    def __init__(
        self,
        paths: Sequence[str],
        by: Sequence[str],
        stale_before: float,
        progress: Progress,
    ) -> None:
        """Reports made before `stale_before`, in seconds since 1970, are stale.

        `progress` is called with how many files have been read, and how many there are.
        Raises SdeictlError: with Status.USAGE if a path does not exist, else with Status.UNKNOWN.
        """
        self._paths = tuple(paths)
        self._named = frozenset(paths)
        self._by = tuple(by)
        self._stale_before = stale_before
        self._hosts: list[_Host] = []
        self._unusable: list[str] = []
        files = [file for path in paths for file in _files(path)]
        for number, file in enumerate(files):
            progress(number, len(files))
            try:
                self._hosts.append(self._read(file))
            except SdeictlError as error:
                self._unusable.append(str(error))
        progress(len(files), len(files))

    def describe(self) -> str:
        """Return the paths."""
        return " ".join(self._paths)

    def tallies(self, inventory: Sequence[str]) -> Tallies:
        """Count the hosts; names in the inventory that no file has count as hosts without an agent."""
        hosts = self._hosts
        paths: dict[Group, Counter[str]] = {}
        for host in hosts:
            paths.setdefault(host.group, Counter())[host.path] += 1
        broken: dict[Link, Counter[Group]] = {}
        for host in hosts:
            for link in host.broken:
                broken.setdefault(link, Counter())[host.group] += 1
        kdump = Counter(host.kdump for host in hosts)
        names = {host.name for host in hosts}
        absent = tuple(sorted({name for name in inventory if name not in names}))
        return Tallies(
            paths=paths,
            ready=Counter(host.group for host in hosts if host.ready),
            not_ready=Counter(host.group for host in hosts if host.ready is False),
            no_agent=len(absent),
            no_report=len(self._unusable),
            stale=sum(host.at < self._stale_before for host in hosts),
            broken=broken,
            no_detector=Counter(host.group for host in hosts if host.outcomes.get(DETECTOR) == Outcome.FAIL),
            detector_unknown=sum(host.outcomes.get(DETECTOR) == Outcome.UNKNOWN for host in hosts),
            hazards=Counter(host.group for host in hosts if host.hazard),
            at_risk=sum(host.hazard and host.ready is True for host in hosts),
            drills=None,
            kdump=KdumpCounts(kdump[True], kdump[False], kdump[None]),
            events=None,
            splits=dict(self._splits()),
            absent=absent,
            gaps=self.gaps(),
        )

    def _splits(self) -> Iterator[tuple[str, Mapping[Group, Split]]]:
        counts: dict[str, dict[Group, Counter[str]]] = {}
        for host in self._hosts:
            for check, outcome in host.outcomes.items():
                counts.setdefault(check, {}).setdefault(host.group, Counter())[outcome] += 1
        for check, groups in counts.items():
            splits = {
                group: Split(found[Outcome.PASS], found[Outcome.FAIL])
                for group, found in groups.items()
                if found[Outcome.PASS] and found[Outcome.FAIL]
            }
            if splits and check not in NEVER_OUTLIERS:
                yield check, splits

    def failing_hosts(self, check: str, group: Group, *, fails: bool, limit: int) -> list[str]:
        """Return the names of the first hosts of a cohort that fail a check, or that pass it."""
        outcome = Outcome.FAIL if fails else Outcome.PASS
        names = (h.name for h in self._hosts if h.group == group and h.outcomes.get(check) == outcome)
        return sorted(names)[:limit]

    def gaps(self) -> tuple[str, ...]:
        """Return why files cannot be used."""
        return _first(self._unusable)

    def rows(self, check: str | None) -> list[HostRow]:
        """Return all hosts with a report, or those that fail a check, sorted by name."""
        return sorted(
            HostRow(host.name, host.group, host.path, host.ready, "" if check is None else Outcome.FAIL)
            for host in self._hosts
            if check is None or host.outcomes.get(check) == Outcome.FAIL
        )

    def _read(self, path: str) -> _Host:
        """Return the host in a file; raise SdeictlError if it is none."""
        # Who may add a file to a directory may add a device, and to open a watchdog starts it.
        if path not in self._named and not (os.path.isfile(path) or os.path.isdir(path)):
            raise SdeictlError(f"{path} is neither a regular file nor a directory", Status.UNKNOWN)
        report = report_at(path)
        with complete_report(path):
            return _host(report, _name(path), self._by)


def _files(path: str) -> list[str]:
    """Return the files of hosts at a path: itself, or the entries of a directory that is not a host."""
    try:
        if not os.path.isdir(path):
            os.stat(path)
            return [path]
        names = sorted(os.listdir(path))
    except FileNotFoundError as error:
        raise SdeictlError(f"{path} does not exist", Status.USAGE) from error
    except OSError as error:
        raise SdeictlError(f"cannot read {error_text(error)}", Status.UNKNOWN) from error
    if set(_HOST_DIRECTORIES).intersection(names):
        return [path]
    return [os.path.join(path, name) for name in names if not name.startswith(".")]


def _name(path: str) -> str:
    """Return the name of a host: of its file, without what says its format."""
    name = os.path.basename(os.path.normpath(path))
    while name.endswith(_ENDINGS) and (shorter := name.rpartition(".")[0]):
        name = shorter
    return name


def _host(report: ReportDocument, name: str, by: Sequence[str]) -> _Host:
    verdict, described = report["verdict"], report["host"]
    ready = verdict["ready"]
    texts: Mapping[str, object] = {**described}
    labels = tuple("" if (text := texts[LABELS[label]]) is None else str(text) for label in by)
    findings = report["findings"]
    if max(map(len, labels), default=0) > MAX_LABEL_CHARACTERS or len(findings) > MAX_FINDINGS:
        raise ValueError("it has more text or more findings than a report of sdeictl has")
    return _Host(
        name=name,
        at=datetime.fromisoformat(report["generated_at"]).timestamp(),
        group=labels,
        path=NmiPath(verdict["nmi_path"]),
        ready=ready,
        hazard=bool(verdict["hazards"]),
        kdump=verdict["consumers"]["crash"]["kdump_loaded"],
        outcomes={finding["id"]: Outcome(finding["outcome"]) for finding in findings},
        broken=() if ready else tuple(_link(each) for each in findings if _is_broken(each)),
    )


def _is_broken(finding: FindingDocument) -> bool:
    return finding["id"] in LINKS and finding["outcome"] == Outcome.FAIL


def _link(finding: FindingDocument) -> Link:
    return Link(finding["id"], finding["owner"], finding["remedy"])


def _first(unusable: Sequence[str]) -> tuple[str, ...]:
    more = len(unusable) - MAX_GAPS
    return (*unusable[:MAX_GAPS], *((f"{more} more files cannot be used",) if more > 0 else ()))
