"""The sources of the exporter: the files of the collector, the watcher, the drills and the benchmarks.

A file is read again only if it has changed. A source is down if its file is missing, not trusted (a link, of
another user, too large), damaged, from the future or from another boot. A source that is down never ends the
process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

from sdeictl.host.paths import (
    BENCH_RESULTS,
    DRILL_JOURNAL,
    DRILL_RESULTS,
    POSTMORTEM_FILE,
    REPORT_FILE,
    RUN_DIRECTORY,
    STATE_DIRECTORY,
    WATCH_DIRECTORY,
    WATCH_FILE,
)
from sdeictl.text import Word
from sdeictl_agent.documents import (
    Bench,
    Drill,
    Postmortem,
    Report,
    Watch,
    parse_bench,
    parse_drill,
    parse_postmortem,
    parse_report,
    parse_watch,
)
from sdeictl_agent.json_values import DAMAGE
from sdeictl_agent.trust import UntrustedError, read_trusted, require_trusted, trusted_users
from sdeictl_agent.watch_file import MAX_WATCH_BYTES

MAX_BYTES = 8 << 20
DAMAGED = "It is damaged."
FUTURE_SECONDS = 300.0
"""How much two clocks of one host may differ."""
Content = TypeVar("Content")
Dated = TypeVar("Dated", Report, Watch, Postmortem)


class Source(Word):
    """A source of metrics."""

    REPORT = "report"
    WATCH = "watch"
    DRILLS = "drills"
    BENCH = "bench"
    POSTMORTEM = "postmortem"


SOURCES = {
    Source.REPORT: f"{RUN_DIRECTORY}/{REPORT_FILE}, written by sdeictl-collect.service",
    Source.WATCH: f"{WATCH_DIRECTORY}/{WATCH_FILE}, written by sdeictl-watch.service",
    Source.DRILLS: f"{DRILL_RESULTS}, written by sdeictl drill",
    Source.BENCH: f"{BENCH_RESULTS}, written by sdeictl bench",
    Source.POSTMORTEM: f"{RUN_DIRECTORY}/{POSTMORTEM_FILE}, written by sdeictl-collect.service",
}
"""Where each source is, and the program that writes it."""


class Snapshot(NamedTuple):
    """The content of all sources at one moment."""

    taken_at: float
    """Seconds since 1970."""
    report: Report | None
    watch: Watch | None
    drills: tuple[Drill, ...]
    """The last result of each drill and variant."""
    drill_pending: bool | None
    """A drill has begun and not ended; None if the journal cannot tell."""
    bench: Bench | None
    """The last run."""
    postmortem: Postmortem | None
    problems: Mapping[Source, str]
    """Why each source that is down is down, as a sentence."""


class Places(NamedTuple):
    """The directories that hold the files."""

    run: str = RUN_DIRECTORY
    state: str = STATE_DIRECTORY
    watch: str = WATCH_DIRECTORY


class _CachedFile(Generic[Content]):
    """One file of root, or of the owner of `directory`, parsed again only when it has changed."""

    def __init__(
        self, path: str, parse: Callable[[bytes], Content], most_bytes: int = MAX_BYTES, directory: str = ""
    ) -> None:
        self._path = path
        self._parse = parse
        self._most_bytes = most_bytes
        self._directory = directory
        self._version: tuple[object, ...] | None = None
        self._content: Content | None = None
        self._problem = ""

    def read(self) -> tuple[Content | None, str]:
        """Return the content and "", or None and a sentence that says why the file cannot be used."""
        owners = trusted_users(self._directory)
        try:
            found = os.lstat(self._path)
            version = (found.st_ino, found.st_mode, found.st_uid, found.st_size, found.st_mtime_ns, owners)
            if version != self._version:
                self._content, self._problem = self._read_anew(owners)
                self._version = version
        except OSError as error:
            self._version = None  # the same file may be readable later: no descriptor was left, for example
            return None, f"{error.strerror}."
        return self._content, self._problem

    def _read_anew(self, owners: frozenset[int]) -> tuple[Content | None, str]:
        try:
            return self._parse(read_trusted(self._path, owners, self._most_bytes)), ""
        except UntrustedError as error:
            return None, str(error)
        except DAMAGE:
            return None, DAMAGED


class _ResultDirectory(Generic[Content]):
    """The results in a directory: files that are named after the time, each parsed once."""

    def __init__(
        self, path: str, suffix: str, parse: Callable[[bytes], Content], *, only_last: bool = False
    ) -> None:
        self._path = path
        self._suffix = suffix
        self._parse = parse
        self._only_last = only_last
        self._files: dict[str, _CachedFile[Content]] = {}

    def read(self) -> tuple[list[Content], str]:
        """Return the results, oldest first, and "" or a sentence that says what cannot be read.

        A directory that does not exist yet has no results, and no problem.
        """
        try:
            names = self._names()
        except FileNotFoundError:
            return [], ""
        except OSError as error:
            return [], f"{error.strerror}."
        self._files = {
            name: self._files.get(name) or _CachedFile(f"{self._path}/{name}", self._parse) for name in names
        }
        found = [(name, *file.read()) for name, file in self._files.items()]
        contents = [content for _name, content, _problem in found if content is not None]
        problems = [_unread(name, problem) for name, _content, problem in found if problem]
        return contents, problems[-1] if problems else ""

    def _names(self) -> list[str]:
        names = sorted(
            name for name in os.listdir(self._path) if name.endswith(self._suffix) and name[:1].isdigit()
        )
        return names[-1:] if self._only_last else names


def _unread(name: str, problem: str) -> str:
    """Return what is wrong with one file of a directory."""
    return f"{name} cannot be read." if problem == DAMAGED else f"{name} cannot be read. {problem}"


def _is_pending(journal: str) -> tuple[bool | None, str]:
    """Tell whether the drills have a journal, and what is wrong with it; only root can read its content."""
    try:
        require_trusted(os.lstat(journal), trusted_users(), MAX_BYTES)
    except FileNotFoundError:
        return False, ""
    except OSError as error:
        return None, f"{error.strerror}."
    except UntrustedError as error:
        return None, _unread(DRILL_JOURNAL, str(error))
    return True, ""


def _uptime() -> float:
    # Not from /proc: there the unit hides everything but processes (ProcSubset=pid).
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Sources:
    """Reads all sources. `clock` gives the seconds since 1970, `uptime` the seconds since boot."""

    def __init__(
        self, places: Places, clock: Callable[[], float] = time.time, uptime: Callable[[], float] = _uptime
    ) -> None:
        self._clock = clock
        self._uptime = uptime
        self._report = _CachedFile(f"{places.run}/{REPORT_FILE}", parse_report)
        self._watch = _CachedFile(
            f"{places.watch}/{WATCH_FILE}", parse_watch, MAX_WATCH_BYTES, directory=places.watch
        )
        self._drills = _ResultDirectory(f"{places.state}/drills", ".json", parse_drill)
        self._journal = f"{places.state}/drills/{DRILL_JOURNAL}"
        self._postmortem = _CachedFile(f"{places.run}/{POSTMORTEM_FILE}", parse_postmortem)
        self._bench = _ResultDirectory(f"{places.state}/bench", "-bench.json", parse_bench, only_last=True)

    def read(self) -> Snapshot:
        """Return the present content of all sources; never raises."""
        report, no_report = self._of_this_boot(*self._report.read())
        watch, no_watch = self._of_this_boot(*self._watch.read())
        drills, no_drill = self._drills.read()
        pending, no_journal = _is_pending(self._journal)
        runs, no_bench = self._bench.read()
        postmortem, no_postmortem = self._of_this_boot(*self._postmortem.read())
        problems = {
            Source.REPORT: no_report,
            Source.WATCH: no_watch,
            Source.DRILLS: no_drill or no_journal,
            Source.BENCH: no_bench,
            Source.POSTMORTEM: no_postmortem,
        }
        return Snapshot(
            taken_at=self._clock(),
            report=report,
            watch=watch,
            drills=tuple({drill.name: drill for drill in drills}.values()),
            drill_pending=pending,
            bench=runs[-1] if runs else None,
            postmortem=postmortem,
            problems={source: problem for source, problem in problems.items() if problem},
        )

    def _of_this_boot(self, content: Dated | None, problem: str) -> tuple[Dated | None, str]:
        if content is None:
            return None, problem
        if content.at > self._clock() + FUTURE_SECONDS:
            return None, "It is from the future."
        if content.at < self._clock() - self._uptime() - FUTURE_SECONDS:
            return None, "It is of another boot."
        return content, ""
