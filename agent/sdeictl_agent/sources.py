"""What the exporter reads: the files of the other roles and of sdeictl's commands, and nothing else.

A file is read again only if it has changed. One that is missing, damaged, too large, from the future or
from another boot is a source that is down; it never ends the process.
"""

import json
import math
import os
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from sdeictl.interlock.journal import JOURNAL_FILE, OUTCOMES, stamped_at
from sdeictl.probe.metrics import NMI_PATHS

Json = dict[str, Any]
MAX_BYTES = 8 << 20
FUTURE_SECONDS = 300.0
"""By so much two clocks of one host may differ."""
REPORT, WATCH, DRILLS, BENCH = "report", "watch", "drills", "bench"
SOURCES = {
    REPORT: "/run/sdeictl/report.json, written by sdeictl-collect.service",
    WATCH: "/run/sdeictl/watch.json, written by sdeictl-watch.service",
    DRILLS: "/var/lib/sdeictl/drills, written by sdeictl drill",
    BENCH: "/var/lib/sdeictl/bench, written by sdeictl bench",
}


class Document(NamedTuple):
    """A file as it was last read."""

    content: Json | None
    problem: str | None
    """Why it is of no use, a sentence; else None."""


class Snapshot(NamedTuple):
    """Everything at one moment. Frozen: a scrape works on one, whatever is read meanwhile."""

    taken_at: float
    """In seconds since 1970."""
    report: Document
    watch: Document
    drills: tuple[Json, ...]
    """The last result of each drill and variant."""
    pending: bool
    """A drill has begun and not ended."""
    bench: Json | None
    """The last run, without its samples."""
    problems: tuple[tuple[str, str | None], ...]
    """Each source and why it is down, None if it is not."""


class Places(NamedTuple):
    """Where the files are."""

    run: str = "/run/sdeictl"
    state: str = "/var/lib/sdeictl"


class _Cached:
    """One file, parsed when it has changed."""

    def __init__(self, path: str, parse: Callable[[Json], Json]) -> None:
        self._path = path
        self._parse = parse
        self._seen: tuple[int, ...] | None = None
        self._document = Document(None, "It was not read yet.")

    def get(self) -> Document:
        try:
            found = os.stat(self._path)
        except OSError as error:
            self._seen = None
            return Document(None, f"{error.strerror}.")
        now = (found.st_ino, found.st_size, found.st_mtime_ns)
        if now != self._seen:
            self._seen = now
            self._document = self._read(found.st_size)
        return self._document

    def _read(self, size: int) -> Document:
        if size > MAX_BYTES:
            return Document(None, f"It has {size} bytes.")
        try:
            with open(self._path, "rb", opener=_without_waiting) as file:
                return Document(self._parse(json.loads(file.read(MAX_BYTES + 1))), None)
        except OSError as error:
            self._seen = None  # no descriptor left, say: another time the same file can be read
            return Document(None, f"{error.strerror}.")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
            return Document(None, "It is damaged.")


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a FIFO would wait for who writes it


class _Directory:
    """The results in a directory, each parsed once; one that is removed is forgotten."""

    def __init__(self, path: str, end: str, parse: Callable[[Json], Json]) -> None:
        self._path = path
        self._end = end
        self._parse = parse
        self._results: dict[str, _Cached] = {}

    def read(self, newest: int = 0) -> tuple[list[Json], str | None]:
        """Return all or the newest, oldest first, and what is wrong; no directory yet is an empty one."""
        try:
            names = sorted(
                name for name in os.listdir(self._path) if name.endswith(self._end) and name[:1].isdigit()
            )[-newest:]
        except FileNotFoundError:
            return [], None
        except OSError as error:
            return [], f"{error.strerror}."
        self._results = {
            name: self._results.get(name) or _Cached(f"{self._path}/{name}", self._parse) for name in names
        }
        found = [(name, result.get().content) for name, result in self._results.items()]
        damaged = [name for name, content in found if content is None]
        contents = [content for _name, content in found if content is not None]
        return contents, f"{damaged[-1]} cannot be read." if damaged else None


def _uptime() -> float:
    # Not from /proc/stat: the unit shows this process nothing of /proc but processes.
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Sources:
    """Reads the files. The clocks give seconds: since 1970, and since this boot began."""

    def __init__(
        self, places: Places, clock: Callable[[], float] = time.time, uptime: Callable[[], float] = _uptime
    ) -> None:
        self._clock = clock
        self._uptime = uptime
        self._report = _Cached(f"{places.run}/report.json", _report)
        self._watch = _Cached(f"{places.run}/watch.json", _watch)
        self._drills = _Directory(f"{places.state}/drills", ".json", _drill)
        self._journal = f"{places.state}/drills/{JOURNAL_FILE}"
        self._bench = _Directory(f"{places.state}/bench", "-bench.json", _bench)

    def read(self) -> Snapshot:
        """Return what there is now."""
        report = self._of_this_boot(self._report.get(), _generated_at)
        watch = self._of_this_boot(self._watch.get(), lambda content: float(content["updated_at"]))
        every, no_drills = self._drills.read()
        runs, no_bench = self._bench.read(newest=1)
        latest = {(drill["drill"], drill["variant"]): drill for drill in every}
        problems = ((REPORT, report.problem), (WATCH, watch.problem), (DRILLS, no_drills), (BENCH, no_bench))
        drills, bench = tuple(latest.values()), runs[-1] if runs else None
        return Snapshot(self._clock(), report, watch, drills, os.path.exists(self._journal), bench, problems)

    def _of_this_boot(self, document: Document, when: Callable[[Json], float]) -> Document:
        if document.content is None:
            return document
        at = when(document.content)
        if at > self._clock() + FUTURE_SECONDS:
            return Document(None, "It is from the future.")
        if at < self._clock() - self._uptime() - FUTURE_SECONDS:
            return Document(None, "It is of another boot.")
        return document


def _report(content: Json) -> Json:
    if content["schema"] != "sdeictl.report/1":
        raise ValueError("another schema")
    _generated_at(content)
    if content["verdict"]["nmi_path"] not in NMI_PATHS:
        raise ValueError("no path")
    return content


def _generated_at(content: Json) -> float:
    return datetime.fromisoformat(content["generated_at"]).timestamp()


def _watch(content: Json) -> Json:
    if content["schema"] != "sdeictl.watch/1" or not all(
        type(value) is int and value >= 0
        for group in (content["counters"], content["events"])
        for value in group.values()
    ):
        raise ValueError("no counts")
    if not math.isfinite(float(content["updated_at"])):
        raise ValueError("no time")
    return content


def _drill(content: Json) -> Json:
    names = ("drill", "variant", "outcome", "host", "target", "cpus")
    if content["outcome"] not in OUTCOMES or not isinstance(content["drill"], str):
        raise ValueError("no outcome of a drill")
    return {"at": stamped_at(content["id"])} | {name: content[name] for name in names}


def _bench(content: Json) -> Json:
    """Return a run without its samples: they are many, and nobody exports them."""
    results = [
        {name: result[name] for name in ("call", "undisturbed")}
        for result in content["results"]
        if isinstance(result["undisturbed"], float)
    ]
    conditions = {name: content["conditions"][name] for name in ("pseudo_nmi", "pmr_sync", "kernel", "loop")}
    return {
        "at": stamped_at(content["id"]),
        "results": results,
        "conditions": conditions,
        "labels": len(content["labels"]),
    }
