"""`sdeictl drill resume`: end a drill that was killed, or that took the host down."""

from __future__ import annotations

import os

from sdeictl.drill.after_reset import UNKNOWN, judge_dump, judge_interrupted, judge_log
from sdeictl.drill.case import Tell, describe_drill
from sdeictl.drill.catalog import Survivor, find_variant
from sdeictl.drill.evidence import find_dump, find_log
from sdeictl.drill.helper import find_stuck
from sdeictl.drill.result import DrillResult, Identity
from sdeictl.drill.session import LOST_SECONDS, restore_settings
from sdeictl.errors import SdeictlError, Status, error_text
from sdeictl.host.live import LiveRoot
from sdeictl.interlock.journal import (
    Aftermath,
    Entry,
    JournalError,
    close_journal,
    read_journal,
    write_journal,
)
from sdeictl.interlock.lock import BusyError, Lock
from sdeictl.interlock.results import DrillDocument, read_result, write_result
from sdeictl.interlock.survey import read_boot_id
from sdeictl.probe.collect import collect
from sdeictl.probe.drills import DRILL_OUTCOMES, DrillOutcome
from sdeictl.probe.report import describe_host
from sdeictl.text import NamedTuple, name_cpus

WAIT_SECONDS = 30.0
"""How long the helpers of a killed drill may still be in the kernel."""
MAX_TRIES = 2
"""How often in one boot it looks for the evidence, before the drill ends as unknown."""


class Resumed(NamedTuple):
    """What became of the drill that had not ended."""

    sentence: str
    status: Status
    result: DrillDocument | None = None
    """The result of the drill, if it has ended now."""


class _Judged(NamedTuple):
    result: DrillResult
    path: str
    """Of the evidence."""
    log: bytes


def resume(evidence: str | None, tell: Tell) -> Resumed:
    """Restore what the drill that has not ended left, and judge it if it took the host down.

    `evidence` names the log or the dump that survived. Raises SdeictlError.
    """
    if os.geteuid():
        raise SdeictlError("only root can restore what a drill has left", Status.UNKNOWN)
    nothing = Resumed("no drill has left anything", Status.GOOD)
    try:
        if not read_journal():
            return nothing
        lock = Lock(wait_seconds=WAIT_SECONDS)
    except BusyError as error:
        raise SdeictlError("a drill is running; there is nothing to resume yet", Status.REFUSED) from error
    except JournalError as error:
        raise SdeictlError(str(error), Status.UNKNOWN) from error
    try:
        entry = _read_known_entry()
        return _end(LiveRoot(), entry, evidence, tell) if entry else nothing
    except JournalError as error:
        raise SdeictlError(str(error), Status.UNKNOWN) from error
    except OSError as error:
        raise SdeictlError(f"it could not be resumed: {error_text(error)}", Status.UNKNOWN) from error
    finally:
        lock.release()


def _read_known_entry() -> Entry | None:
    """Return the entry of the journal; raise JournalError if this sdeictl does not know its drill."""
    entry = read_journal()
    if entry:
        try:
            find_variant(entry.drill, entry.variant)
        except KeyError as error:
            what = f"{entry.drill} {entry.variant}"
            raise JournalError(f"The journal names no drill of this sdeictl: {what}.") from error
    return entry


def _end(root: LiveRoot, entry: Entry, evidence: str | None, tell: Tell) -> Resumed:
    same_boot = entry.boot_id == read_boot_id(root)
    kept = read_result(entry.id)
    if not kept and entry.unstored:
        kept = _keep(entry.unstored)
    if kept:  # it was killed after its result was kept, or the result could not be kept before
        return _finish(root, entry, kept, same_boot=same_boot)
    fired = entry.aftermath if entry.aftermath and entry.aftermath.fired else None
    if same_boot:
        return _end_killed(root, entry, fired, tell)
    if fired:
        takes_down = find_variant(entry.drill, entry.variant).reset
        judge = _judge if takes_down else _judge_bounded
        return judge(root, entry, fired, evidence, tell)
    why = "A reboot ended it before it asked a CPU for anything."
    document = _store(root, entry, tell, UNKNOWN._replace(reasons=(why,)))
    close_journal()
    return Resumed(f"a reboot ended the drill {entry.id} and restored everything", Status.GOOD, document)


def _finish(root: LiveRoot, entry: Entry, kept: DrillDocument, *, same_boot: bool) -> Resumed:
    if same_boot:
        restore_settings(root, entry)
    close_journal()
    status = DRILL_OUTCOMES[DrillOutcome(kept["outcome"])].status
    assert status is not None  # noqa: S101 - a stored outcome has one
    return Resumed(f"the drill {entry.id} had ended", status, kept)


def _end_killed(root: LiveRoot, entry: Entry, fired: Aftermath | None, tell: Tell) -> Resumed:
    """End a drill of this boot that was killed."""
    result = UNKNOWN._replace(reasons=("It was killed before its end, or its result could not be stored.",))
    stuck = find_stuck(fired.online, LOST_SECONDS) if fired else ()
    if stuck:
        why = f"It was killed, and nothing runs on {name_cpus(stuck)} any more: this host needs a reset."
        result = DrillResult(DrillOutcome.LOST, (why,), lost_cpus=stuck)
    restore_settings(root, entry)  # first: on a host with a lost CPU the next line may never end
    document = _store(root, entry, tell, result)
    close_journal()
    status = Status.FAILED if result.outcome is DrillOutcome.LOST else Status.GOOD
    return Resumed(f"restored what the drill {entry.id} had left", status, document)


def _judge(root: LiveRoot, entry: Entry, fired: Aftermath, evidence: str | None, tell: Tell) -> Resumed:
    """Judge a drill that took the host down."""
    judged = _find_and_judge(entry, fired, evidence)
    if judged is None:
        return _look_again(root, entry, fired, tell)
    document = _store(root, entry, tell, judged.result, judged.path, judged.log)
    close_journal()
    status = DRILL_OUTCOMES[judged.result.outcome].status
    assert status is not None  # noqa: S101 - a judged drill was not refused
    return Resumed(f"judged the drill {entry.id} from {judged.path}", status, document)


def _judge_bounded(
    root: LiveRoot, entry: Entry, fired: Aftermath, evidence: str | None, tell: Tell
) -> Resumed:
    """Judge a drill that should have left the host up: it went down all the same."""
    try:
        found = find_log(entry.id, fired, evidence)
    except FileNotFoundError as error:
        raise SdeictlError(f"{error.filename} does not exist", Status.UNKNOWN) from error
    result = judge_interrupted(fired.target, found.data if found else b"")
    path, log = (found.path, found.data) if found else (None, b"")
    document = _store(root, entry, tell, result, path, log)
    close_journal()
    status = DRILL_OUTCOMES[result.outcome].status
    assert status is not None  # noqa: S101 - it was not refused
    return Resumed(f"the host went down during the drill {entry.id}", status, document)


def _find_and_judge(entry: Entry, fired: Aftermath, evidence: str | None) -> _Judged | None:
    reset = find_variant(entry.drill, entry.variant).reset
    assert reset is not None  # noqa: S101 - only drills that take the host down have fired
    if reset.survivor is Survivor.DUMP:
        dump = find_dump(entry.id, fired, evidence)
        if not dump:
            return None
        return _Judged(judge_dump(reset, fired, dump.core), dump.path, dump.core.log or b"")
    try:
        found = find_log(entry.id, fired, evidence)
    except FileNotFoundError:
        return None
    if not found:
        return None
    assert fired.target is not None  # noqa: S101 - these drills have a target
    return _Judged(judge_log(reset, fired.target, found.data), found.path, found.data)


def _look_again(root: LiveRoot, entry: Entry, fired: Aftermath, tell: Tell) -> Resumed:
    """Note that no evidence was found; the second time in a boot, end the drill."""
    boot_id = read_boot_id(root)
    tries = 1 + (fired.tries if fired.tried_in == boot_id else 0)
    # A ramoops console is there at once or never; a log that was named, or a dump, may still come.
    if tries < MAX_TRIES and fired.channel != "ramoops":
        write_journal(entry._replace(aftermath=fired._replace(tries=tries, tried_in=boot_id)))
        text = f"there is no evidence of the drill {entry.id} yet: name its log or its dump by --evidence"
        return Resumed(text, Status.UNKNOWN)
    why = "No evidence that survived the reset has this drill in it."
    document = _store(root, entry, tell, UNKNOWN._replace(reasons=(why,)))
    close_journal()
    return Resumed(f"the drill {entry.id} ends unknown", Status.UNKNOWN, document)


def _store(
    root: LiveRoot, entry: Entry, tell: Tell, result: DrillResult, path: str | None = None, log: bytes = b""
) -> DrillDocument:
    """Store the result of a drill; raise SdeictlError, and leave the journal open, if that fails."""
    host = entry.aftermath.host if entry.aftermath else describe_host(collect(root))
    identity = Identity(entry.id, entry.drill, entry.variant, host, entry.boot_id)
    return _keep(describe_drill(identity, tell, result, log, evidence=path), log)


def _keep(document: DrillDocument, log: bytes = b"") -> DrillDocument:
    """Write a result and return it; raise SdeictlError if that fails."""
    try:
        write_result(document, log)
    except OSError as error:
        text = f"the drill {document['id']} has not ended: its result could not be stored: {error.strerror}"
        raise SdeictlError(text, Status.UNKNOWN) from error
    return document
