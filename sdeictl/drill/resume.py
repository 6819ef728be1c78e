"""What is left of drills: the last results, what to put back, and what a reset drill has proved."""

import os
from typing import NamedTuple

from sdeictl.drill.after_reset import judge_core, judge_log
from sdeictl.drill.evidence import find_core, find_log
from sdeictl.drill.helper import find_stuck
from sdeictl.drill.reset import VMCORE, find_kind
from sdeictl.drill.result import LOST, STATUSES, DrillResult, Identity
from sdeictl.drill.run import Tell, store
from sdeictl.drill.session import LOST_SECONDS, put_back
from sdeictl.errors import SdeictlError, Status, error_text
from sdeictl.host.root import LiveRoot
from sdeictl.interlock.arming import armed_seconds
from sdeictl.interlock.host import read_boot_id
from sdeictl.interlock.journal import (
    STATE_DIRECTORY,
    BusyError,
    Entry,
    JournalError,
    Lock,
    end_journal,
    read_journal,
    read_result,
    read_results,
    write_journal,
)
from sdeictl.probe.checks.check import UNKNOWN
from sdeictl.probe.collect import collect
from sdeictl.probe.report import Json, host_json

STATUS_SCHEMA = "sdeictl.drill-status/1"
WAIT_SECONDS = 30.0
"""How long the helpers of a killed drill may still be in the kernel."""
MAX_TRIES = 2
"""How often in one boot it is looked for what outlasted the reset, before the drill ends as unknown."""


class Resumed(NamedTuple):
    """What became of what was left."""

    sentence: str
    status: Status
    result: Json | None = None
    """The result of the drill, now that it has ended."""


def read_status() -> Json:
    """Return what has been drilled here and what is left to put back."""
    try:
        pending = read_journal()
        stored = read_results()
    except JournalError as error:
        raise SdeictlError(str(error), Status.UNKNOWN) from error
    except OSError as error:
        raise SdeictlError(f"{STATE_DIRECTORY} cannot be read: {error.strerror}", Status.UNKNOWN) from error
    root = LiveRoot()
    boot_id = read_boot_id(root)
    entry = None
    if pending:
        entry = {"id": pending.id, "drill": pending.drill, "variant": pending.variant, "pid": pending.pid}
        entry["this_boot"] = pending.boot_id == boot_id
        entry["fired"] = bool(pending.aftermath and pending.aftermath.fired)
    now = host_json(collect(root))
    results = [result | {"stale": is_stale(result, now)} for result in stored.latest]
    return {
        "schema": STATUS_SCHEMA,
        "armed_seconds": armed_seconds(boot_id),
        "pending": entry,
        "results": results,
        "unreadable": list(stored.unreadable),
    }


def is_stale(result: Json, now: Json) -> bool:
    """Tell whether a result was earned on another kernel or firmware than the host has now."""
    then = result.get("host") or {}
    return any(then.get(name) != now[name] for name in ("kernel", "firmware"))


def resume(evidence: str | None, tell: Tell) -> Resumed:
    """End the drill that has not ended: put back what it left, and judge it by what outlasted a reset."""
    if os.geteuid():
        raise SdeictlError("only root can put back what a drill has left", Status.UNKNOWN)
    nothing = Resumed("nothing was left by a drill", Status.GOOD)
    try:
        if not read_journal():
            return nothing
        lock = Lock(wait_seconds=WAIT_SECONDS)
    except BusyError as error:
        raise SdeictlError("a drill is running; there is nothing to resume yet", Status.REFUSED) from error
    except JournalError as error:
        raise SdeictlError(str(error), Status.UNKNOWN) from error
    try:
        entry = read_journal()
        return _end(LiveRoot(), entry, evidence, tell) if entry else nothing
    except JournalError as error:
        raise SdeictlError(str(error), Status.UNKNOWN) from error
    except OSError as error:
        raise SdeictlError(f"it could not be resumed: {error_text(error)}", Status.UNKNOWN) from error
    finally:
        lock.release()


def _end(root: LiveRoot, entry: Entry, evidence: str | None, tell: Tell) -> Resumed:
    same_boot = entry.boot_id == read_boot_id(root)
    kept = read_result(entry.id)
    if kept:  # it was killed between its result and its end
        if same_boot:
            put_back(root, entry)
        end_journal()
        return Resumed(f"the drill {entry.id} had ended", STATUSES[kept["outcome"]], kept)
    if entry.aftermath and entry.aftermath.fired and not same_boot:
        return _judge(root, entry, evidence, tell)
    if not same_boot:
        why = "It was ended by a reboot before anything was asked of a CPU."
        document = _store(root, entry, tell, DrillResult(UNKNOWN, (why,), UNKNOWN))
        end_journal()
        return Resumed(
            f"the drill {entry.id} was ended by a reboot, which put everything back", Status.GOOD, document
        )
    result = DrillResult(UNKNOWN, ("It was killed before it came to its end.",), UNKNOWN)
    if entry.aftermath and entry.aftermath.fired:
        stuck = find_stuck(entry.aftermath.online, LOST_SECONDS)
        if stuck:
            why = "It was killed after it had masked a CPU for good: this host needs a reset."
            result = DrillResult(LOST, (why,), UNKNOWN, lost_cpus=stuck)
    put_back(root, entry)  # first: on a host with a lost CPU the next line may never end
    document = _store(root, entry, tell, result)
    end_journal()
    status = Status.FAILED if result.outcome == LOST else Status.GOOD
    return Resumed(f"put back what the drill {entry.id} had left", status, document)


def _judge(root: LiveRoot, entry: Entry, evidence: str | None, tell: Tell) -> Resumed:
    """Judge a drill that ended in a reset."""
    kind = find_kind(entry.drill, entry.variant)
    log = b""
    path = None
    if kind.outlasts == VMCORE:
        core = find_core(entry, evidence)
        if core:
            result, path = judge_core(kind, entry, core.core), core.path
            log = core.core.log or b""
    else:
        try:
            found = find_log(entry, evidence)
        except FileNotFoundError:
            found = None
        if found:
            result, path, log = judge_log(kind, entry, found.data), found.path, found.data
    if path is None:
        return _look_again(root, entry, tell)
    document = _store(root, entry, tell, result, path, log)
    end_journal()
    return Resumed(f"judged the drill {entry.id} by {path}", STATUSES[result.outcome], document)


def _look_again(root: LiveRoot, entry: Entry, tell: Tell) -> Resumed:
    """Note that nothing was found; the second time in a boot, end the drill."""
    assert entry.aftermath is not None  # noqa: S101 - only drills that end in a reset come here
    boot_id = read_boot_id(root)
    tries = 1 + (entry.aftermath.tries if entry.aftermath.tried_in == boot_id else 0)
    # A ramoops console is there at once or never; a log that was named, or a dump, may be on its way.
    if tries < MAX_TRIES and entry.aftermath.channel != "ramoops":
        write_journal(entry._replace(aftermath=entry.aftermath._replace(tries=tries, tried_in=boot_id)))
        text = f"nothing was found of the drill {entry.id}: give its log or its dump by --evidence"
        return Resumed(text, Status.UNKNOWN)
    why = "Nothing that outlasted the reset has this drill in it."
    document = _store(root, entry, tell, DrillResult(UNKNOWN, (why,), UNKNOWN))
    end_journal()
    return Resumed(f"the drill {entry.id} ends unknown", Status.UNKNOWN, document)


def _store(
    root: LiveRoot, entry: Entry, tell: Tell, result: DrillResult, path: str | None = None, log: bytes = b""
) -> Json:
    host = entry.aftermath.host if entry.aftermath else host_json(collect(root))
    identity = Identity(entry.id, entry.drill, entry.variant, host, entry.boot_id, path)
    return store(identity, tell, result, log)
