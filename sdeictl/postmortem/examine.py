"""Reads the journal, pstore, dumps and named files, and makes one account of each earlier boot."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from sdeictl.host.files import open_large
from sdeictl.host.gap import Gap, GapKind
from sdeictl.host.journal import Journal, JournalBoot
from sdeictl.host.open import place_of
from sdeictl.host.paths import BOOT_ID, DRILL_RESULTS
from sdeictl.host.reader import Reader
from sdeictl.klog.bootlog import read_bootlog
from sdeictl.klog.log import read_last_boot
from sdeictl.klog.records import KernelLog
from sdeictl.postmortem.account import BootAccount, BootEvidence, Dump, is_capture_kernel, make_account
from sdeictl.postmortem.advice import advise
from sdeictl.postmortem.files import Find, Marks, OpenLarge, Room, find_crashes, find_pstore
from sdeictl.postmortem.join import (
    Key,
    are_same_boot,
    can_be_same_boot,
    group_by_boot,
    keys_of,
    merge_logs,
    share_times,
)
from sdeictl.postmortem.words import End
from sdeictl.probe.drills import DrillKind, DrillOutcome
from sdeictl.probe.stored_drills import StoredDrill, parse_stored_drill
from sdeictl.text import NamedTuple

MAX_BOOTS = 100
JOURNAL = "journalctl"
NEEDS_GROUP = "run as root, or as a member of the group systemd-journal"
OTHER_HOST = "it is of another host: {}"
OLDER = "{:,} older crash directories were not read"
_ENDING = (DrillKind.STOP, DrillKind.CRASH)
"""Drills that always end the boot."""
_WENT_ON_SECONDS = 60.0
"""A boot whose journal goes on for longer after a crash did not crash."""


class Postmortem(NamedTuple):
    """What earlier boots left."""

    boots: tuple[BootAccount, ...]
    """Oldest first. The running one is the last."""
    gaps: tuple[Gap, ...]
    advice: tuple[str, ...]
    """What to switch on so that the next crash leaves more, as sentences."""

    @property
    def evidence_lost(self) -> bool | None:
        """Tell whether a crash left too little of a stuck CPU; None if nothing can tell."""
        found = [boot.evidence_lost for boot in self.boots]
        if True in found:
            return True
        return None if None in found or not found else False


class _Boot(NamedTuple):
    """A boot in the journal."""

    boot: JournalBoot
    began_at: float | None
    ended_at: float | None
    closed: bool


class _Group:
    """Finds of one boot."""

    def __init__(self, finds: Sequence[Find], keys: Iterable[frozenset[Key]]) -> None:
        self.finds = finds
        self.keys = frozenset().union(*keys)
        self.times = frozenset(time for time, _text in self.keys)
        self.at = next((find.at for find in finds if find.at is not None), None)
        self.is_used = False

    def logs(self) -> list[KernelLog]:
        """Return all logs, those of dumps first: they are whole."""
        ordered = sorted(self.finds, key=lambda find: find.core is None)
        return [log for find in ordered for log in find.logs]


def examine(reader: Reader, journal: Journal, named: Sequence[Find], most: int) -> Postmortem:
    """Return the accounts of the last `most` boots before the running one, and of all crashes in files."""
    room = Room(reader)
    crashes, older = find_crashes(reader, _opener(reader), most, room)
    if older:
        reader.gap("crash dumps", GapKind.BROKEN, OLDER.format(older))
    groups = _group([*named, *crashes, *find_pstore(reader, room)])
    boots = list(_boots(reader, journal, most))
    running = _running(reader)
    accounts = []
    models = set()
    for place, boot in enumerate(boots):
        later = boots[place + 1].began_at if place + 1 < len(boots) else None
        evidence = _read_boot(reader, journal, boot, groups, later)
        if evidence is None:
            continue
        models |= {read_bootlog(evidence.log.records).model} - {None}
        accounts.append(make_account(evidence._replace(running=boot.boot.id == running)))
    accounts = [*_accounts_without_journal(reader, groups, boots, models), *accounts]
    advice = advise(reader) if _left_little(accounts) else ()
    return Postmortem(tuple(accounts), tuple(reader.gaps), tuple(advice))


def _left_little(accounts: Sequence[BootAccount]) -> bool:
    """Tell whether nothing of an earlier boot was read, or a crash left no dump."""
    ended = [account for account in accounts if account.end is not End.RUNNING]
    return not ended or any(account.end.is_crash and account.dump.path is None for account in ended)


def _opener(reader: Reader) -> OpenLarge:
    """Return what opens a dump on this host, or in this tree."""
    return lambda path: open_large(place_of(reader.root, path))


def _group(finds: Sequence[Find]) -> list[_Group]:
    """Return finds that share records, together. A find without records is a group of its own."""
    keys = [frozenset().union(*map(keys_of, (log.records for log in find.logs))) for find in finds]
    return [
        _Group([finds[place] for place in places], [keys[place] for place in places])
        for places in group_by_boot(keys)
    ]


def _boots(reader: Reader, journal: Journal, most: int) -> Iterator[_Boot]:
    """Yield the last boots in the journal, oldest first; note a gap if it cannot be read."""
    try:
        listed = journal.boots()
        if not listed:
            reader.gap(JOURNAL, GapKind.ABSENT, "it lists no boot")
        for boot in listed[-most - 1 :]:
            end = journal.end(boot)
            yield _Boot(boot, journal.began_at(boot), end.at if end else None, bool(end and end.closed))
    except FileNotFoundError as error:
        detail = "it is not installed" if error.filename == JOURNAL else f"{error.filename} does not exist"
        reader.gap(JOURNAL, GapKind.ABSENT, detail)
    except OSError as error:
        if os.geteuid():
            reader.gap(JOURNAL, GapKind.DENIED, NEEDS_GROUP)
        else:
            reader.gap(JOURNAL, GapKind.BROKEN, error.strerror or str(error))


def _running(reader: Reader) -> str | None:
    """Return the id of the boot that runs here; None for a tree."""
    value = reader.value(BOOT_ID) if reader.root.live else None
    return value.replace("-", "") if value else None


def _read_boot(
    reader: Reader, journal: Journal, boot: _Boot, groups: Sequence[_Group], later: float | None
) -> BootEvidence | None:
    """Return what is known of a boot in the journal; None for the boot of a capture kernel."""
    marks = Marks()
    try:
        log = read_last_boot(marks.watch(journal.kernel_log(boot.boot)))
    except OSError as error:
        reader.gap(JOURNAL, GapKind.BROKEN, f"boot {boot.boot.id}: {error.strerror or error}")
        log = KernelLog((), 0)
    if not log.records and not reader.has_gap(JOURNAL):
        reader.gap(
            JOURNAL, GapKind.BROKEN, f"no kernel record of boot {boot.boot.id} can be read: {NEEDS_GROUP}"
        )
    keys = keys_of(log.records)
    mine = [
        group for group in groups
        if not group.is_used
        and (are_same_boot(group.keys, keys) or share_times(group.times, marks.times))
    ]  # fmt: skip
    if is_capture_kernel(log.records):
        for group in mine:  # such as its console, which replaces that of the kernel that crashed
            group.is_used = True
        return None
    mine += [
        group for group in groups
        if not group.is_used and group not in mine and _ends(boot, group.at, later)
        and can_be_same_boot(group.keys, keys) and _same_host(group, log)
    ]  # fmt: skip
    return _evidence(reader, mine, [log], marks.last)._replace(
        sources=(
            f"journal, boot {boot.boot.id}",
            *dict.fromkeys(source for group in mine for source in _sources(group)),
        ),
        boot_id=boot.boot.id, began_at=boot.began_at, ended_at=boot.ended_at, closed=boot.closed,
    )  # fmt: skip


def _ends(boot: _Boot, at: float | None, later: float | None) -> bool:
    """Tell whether a boot can have ended with a crash at a time. `later` is when the next boot began."""
    if at is None or boot.began_at is None or boot.ended_at is None or boot.closed:
        return False
    return boot.ended_at - _WENT_ON_SECONDS <= at <= (later or at) and boot.began_at <= at


def _same_host(group: _Group, log: KernelLog) -> bool:
    """Tell whether finds can be of the host that has a log: the kernel and the machine are the same."""
    ours = read_bootlog(log.records)
    theirs = read_bootlog(merge_logs(group.logs()).records)
    pairs = ((ours.release, theirs.release), (ours.model, theirs.model))
    return all(None in pair or pair[0] == pair[1] for pair in pairs)


def _evidence(
    reader: Reader, groups: Sequence[_Group], logs: Sequence[KernelLog] = (), drill: str | None = None
) -> BootEvidence:
    for group in groups:
        group.is_used = True
    finds = [find for group in groups for find in group.finds]
    best = max(finds, key=lambda find: (find.core is not None, find.dump.path is not None), default=None)
    merged = merge_logs([*(log for group in groups for log in group.logs()), *logs])
    return BootEvidence(
        merged,
        tuple(dict.fromkeys(source for group in groups for source in _sources(group))),
        went_on=any(find.went_on for find in finds),
        running=bool(finds) and all(find.follows and not find.went_on for find in finds),
        dump=best.dump if best else Dump(),
        core=best.core if best else None,
        drill=_ending_drill(
            reader, max(filter(None, [drill, *(find.drill for find in finds)]), default=None)
        ),
    )


def _sources(group: _Group) -> list[str]:
    return [source for find in group.finds for source in find.sources]


def _accounts_without_journal(
    reader: Reader, groups: Sequence[_Group], boots: Sequence[_Boot], models: set[str | None]
) -> Iterator[BootAccount]:
    """Yield the accounts of crashes that no boot of the journal shows, oldest first."""
    rest = [group for group in groups if not group.is_used]
    for group in sorted(rest, key=lambda group: group.at or 0.0):
        evidence = _evidence(reader, [group])._replace(ended_at=group.at)
        if is_capture_kernel(evidence.log.records):
            continue
        if why := _of_other_host(group, evidence, boots, models):
            reader.gap(evidence.sources[0], GapKind.BROKEN, OTHER_HOST.format(why))
            continue
        account = make_account(evidence)
        named = any(find.named for find in group.finds)
        # The end of a console without a crash is the rest of a boot that the journal tells better.
        if (
            named
            or not boots
            or account.end in (End.PANIC, End.HARD_LOCKUP)
            or account.stuck
            or account.dump.path
        ):
            yield account


def _of_other_host(
    group: _Group, evidence: BootEvidence, boots: Sequence[_Boot], models: set[str | None]
) -> str | None:
    """Return why a crash is not one of this host, a clause; None if nothing says so."""
    model = read_bootlog(evidence.log.records).model
    if model and models and model not in models:
        return f"its log is of the machine {model}"
    for boot in boots:
        if group.at is None or boot.began_at is None or boot.ended_at is None:
            continue
        if boot.began_at <= group.at < boot.ended_at - _WENT_ON_SECONDS:
            return "this host ran on when the dump was made"
    return None


def _ending_drill(reader: Reader, drill: str | None) -> str | None:
    """Return the id of a drill if it can have ended the boot."""
    if drill is None:
        return None
    result = _result(reader, drill)
    kind = drill.rpartition("-")[2]
    if kind in _ENDING or result is None or result.variant == "permanent":
        return drill
    return drill if result.outcome == DrillOutcome.LOST else None


def _result(reader: Reader, drill: str) -> StoredDrill | None:
    data = reader.optional(f"{DRILL_RESULTS}/{drill}.json", reader.root.read)
    try:
        return None if data is None else parse_stored_drill(data)
    except (ValueError, KeyError, TypeError):
        return None
