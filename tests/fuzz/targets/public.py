"""The part of a log that may leave the host: the same episodes, and cleaning it twice changes nothing."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl.klog.analysis import analyze
from sdeictl.klog.bootlog import BootLog, read_bootlog
from sdeictl.klog.episodes import Backtrace, Episode, HardLockup, HungTask, Panic, RcuStall, SoftLockup
from sdeictl.klog.kmsg import parse_head
from sdeictl.klog.log import parse_log
from sdeictl.klog.public import public_log
from tests.fuzz import logs
from tests.fuzz.harness import Target


def seeds() -> Iterator[bytes]:
    yield from logs.logs()


def check(data: bytes) -> None:
    cleaned = public_log(data)
    raw, found = parse_log(data), parse_log(cleaned)
    assert public_log(cleaned) == cleaned
    if has_number_twice(data):  # of two records with one number, what is left may be equal
        return
    assert len(found.records) == len(raw.records)
    left, whole = (list(map(without_names, analyze(log).episodes)) for log in (found, raw))
    assert left == whole
    assert facts(read_bootlog(found.last_boot())) == facts(read_bootlog(raw.last_boot()))


def has_number_twice(data: bytes) -> bool:
    heads = [head for head in map(parse_head, data.splitlines()) if head]
    return len({(head.sequence, head.micros) for head in heads}) < len(heads)


def without_names(episode: Episode) -> Episode:
    """Return an episode without what is left out: names of tasks and of modules, the reason of a panic."""
    if isinstance(episode, (SoftLockup, HungTask)):
        return episode._replace(task="")
    if isinstance(episode, Panic):
        return episode._replace(message="")
    if isinstance(episode, RcuStall):
        return episode._replace(flavor="")
    if isinstance(episode, HardLockup):
        return episode._replace(pc=None)
    if isinstance(episode, Backtrace):
        return episode._replace(cpus=tuple(cpu._replace(pc=None, frames=frozenset()) for cpu in episode.cpus))
    return episode


def facts(bootlog: BootLog) -> BootLog:
    return bootlog._replace(command_line=None)


TARGET = Target(check, seeds, (public_log,), logs.WORDS)
