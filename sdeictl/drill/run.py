"""From the command to the stored result: facts, guard, plan, drill, verdict."""

import json
import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from sdeictl.checks.check import judge as judge_check
from sdeictl.checks.table import CHAIN
from sdeictl.collect import collect
from sdeictl.drill.backtrace import BacktraceDrill
from sdeictl.drill.guard import Reason, guard
from sdeictl.drill.host import DrillHost, read_boot_id, read_drill_host
from sdeictl.drill.journal import (
    STATE_DIRECTORY,
    BusyError,
    Entry,
    JournalError,
    Lock,
    end_journal,
    read_journal,
    read_results,
    store_result,
)
from sdeictl.drill.plan import Request, make_plan, plan_lines, quiet_console
from sdeictl.drill.render import render_plan, render_reasons, render_result
from sdeictl.drill.result import STATUSES, DrillResult, Predicted, judge, refuse, refused_status, result_json
from sdeictl.drill.session import DrillRefusedError, put_back
from sdeictl.errors import SdeictlError, Status
from sdeictl.facts import HostFacts
from sdeictl.lines import Line
from sdeictl.report import Json, host_json
from sdeictl.root import LiveRoot
from sdeictl.verdict import REGISTERED, decide

RESUME_WAIT_SECONDS = 30.0
"""How long the helpers of a killed drill may still be in the kernel."""

NOTHING_LEFT = "nothing was left by a drill"

Show = Callable[[Json, Iterable[Line]], None]


def run(request: Request, *, dry_run: bool, tell: Callable[[str], None], show: Show) -> Status:
    """Run `drill backtrace` on this host, show its result, and return the exit status."""
    root = LiveRoot()
    facts = collect(root)
    masked = request.masked and facts.architecture == "arm64"
    host = read_drill_host(root, facts.release, masked=masked)
    reasons = guard(facts, host, request)
    if dry_run:
        return _show_plan(request, host, reasons, show)
    identifier = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-backtrace"
    if reasons:
        return _show_refusal(request, facts, identifier, reasons, show)
    plan = make_plan(request, host)
    variant = "masked" if request.masked else None
    settings = quiet_console(host.console_level)
    entry = Entry(identifier, "backtrace", variant, read_boot_id(root), os.getpid(), settings)
    try:
        observed = BacktraceDrill(root, host, plan, entry, tell).run()
    except DrillRefusedError as refusal:
        return _show_refusal(request, facts, identifier, refusal.reasons, show)
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        text = f"the drill could not go on ({what}); `sdeictl drill status` tells whether something is left"
        raise SdeictlError(text, Status.UNKNOWN) from error
    result = judge(plan, predict(facts), observed)
    evidence = f"{STATE_DIRECTORY}/{identifier}.log" if observed.log else None
    identity = {"id": identifier, "host": host_json(facts), "evidence": evidence}
    document = result_json(result, plan, masked=request.masked, identity=identity)
    if observed.log:
        _store(identifier, document, observed.log)
    show(document, render_result(document))
    return STATUSES[result.outcome]


def _store(identifier: str, document: Json, log: bytes) -> None:
    """Keep the result; one that cannot be kept is still shown, and says so."""
    try:
        store_result(identifier, json.dumps(document, indent=1).encode() + b"\n", log)
    except OSError as error:
        document["evidence"] = None
        document["reasons"].append(f"The result could not be stored: {error.strerror}.")


def predict(facts: HostFacts) -> Predicted:
    """Return what the probe says of the host a drill is about to run on."""
    verdict, _findings = decide(facts)
    # Not the finding of the verdict: where SDEI serves, that calls the other path not applicable.
    pseudo_nmi = next(check for check in CHAIN if check.id == REGISTERED["pseudo-nmi"])
    return Predicted(verdict.nmi_path, judge_check(pseudo_nmi, facts).outcome, facts.bootlog)


def _show_plan(request: Request, host: DrillHost, reasons: tuple[Reason, ...], show: Show) -> Status:
    if reasons:
        show({"plan": None, "reasons": [reason._asdict() for reason in reasons]}, render_reasons(reasons))
        return refused_status(reasons)
    lines = plan_lines(make_plan(request, host), host.console_level)
    show({"plan": [list(line) for line in lines], "reasons": []}, render_plan(lines))
    return Status.GOOD


def _show_refusal(
    request: Request, facts: HostFacts, identifier: str, reasons: tuple[Reason, ...], show: Show
) -> Status:
    result: DrillResult = refuse(reasons)
    identity = {"id": identifier, "host": host_json(facts), "evidence": None}
    document = result_json(result, None, masked=request.masked, identity=identity)
    show(document, render_result(document))
    return refused_status(reasons)


def read_status() -> Json:
    """Return what has been drilled here and what is left to put back."""
    try:
        pending = read_journal()
        stored = read_results()
    except JournalError as error:
        raise SdeictlError(str(error), Status.UNKNOWN) from error
    except OSError as error:
        raise SdeictlError(f"{STATE_DIRECTORY} cannot be read: {error.strerror}", Status.UNKNOWN) from error
    entry = pending._asdict() if pending else None
    if pending and entry:
        entry["this_boot"] = pending.boot_id == read_boot_id(LiveRoot())
    return {"pending": entry, "results": list(stored.latest), "unreadable": list(stored.unreadable)}


def resume() -> str:
    """Put back what a killed drill has left; return a sentence about it."""
    if os.geteuid():
        raise SdeictlError("only root can put back what a drill has left", Status.UNKNOWN)
    try:
        if not read_journal():
            return NOTHING_LEFT
        lock = Lock(wait_seconds=RESUME_WAIT_SECONDS)
    except BusyError as error:
        raise SdeictlError("a drill is running; there is nothing to resume yet", Status.REFUSED) from error
    except JournalError as error:
        raise SdeictlError(str(error), Status.UNKNOWN) from error
    try:
        pending = read_journal()
        if not pending:
            return NOTHING_LEFT
        root = LiveRoot()
        if pending.boot_id != read_boot_id(root):
            end_journal()
            return f"the drill {pending.id} was ended by a reboot, which put everything back"
        put_back(root, pending)
        return f"put back what the drill {pending.id} had left"
    except JournalError as error:
        raise SdeictlError(str(error), Status.UNKNOWN) from error
    except OSError as error:
        raise SdeictlError(f"it could not be put back: {error.strerror}", Status.UNKNOWN) from error
    finally:
        lock.release()
