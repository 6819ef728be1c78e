"""From the command to the stored result: facts, guard, plan, drill, verdict."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from typing import NamedTuple

from sdeictl.drill.backtrace import BacktraceDrill
from sdeictl.drill.judge_lockup import judge_lockup
from sdeictl.drill.lockup import (
    THRESHOLDS,
    LockupDrill,
    guard_lockup,
    lockup_lines,
    lockup_plan,
    lockup_settings,
)
from sdeictl.drill.plan import Request, default_target, make_plan, plan_lines, quiet_console, setting_line
from sdeictl.drill.reset import (
    LOG,
    VMCORE,
    Channel,
    ResetDrill,
    Returned,
    about_channel,
    choose_channel,
    find_kind,
    guard_reset,
    reset_lines,
    reset_settings,
)
from sdeictl.drill.result import (
    LOST,
    STATUSES,
    DrillResult,
    Identity,
    Observed,
    Predicted,
    judge,
    refuse,
    refused_status,
    result_json,
    window_json,
)
from sdeictl.drill.session import DrillRefusedError, Seen, Session
from sdeictl.drill.text import render_plan, render_reasons, render_result
from sdeictl.errors import SdeictlError, Status, error_text
from sdeictl.host.root import LiveRoot
from sdeictl.interlock.arming import disarm
from sdeictl.interlock.danger import Consent, about_dump, read_danger, try_makedumpfile
from sdeictl.interlock.host import WATCHDOG_THRESH, read_boot_id, read_drill_host, read_places
from sdeictl.interlock.journal import STATE_DIRECTORY, Aftermath, Entry, Setting, store_result, time_stamp
from sdeictl.interlock.refusals import POLICY, Reason, about_host, guard, plan_json
from sdeictl.probe.checks.check import UNKNOWN
from sdeictl.probe.collect import collect
from sdeictl.probe.facts import HostFacts
from sdeictl.probe.report import Json, host_json
from sdeictl.probe.verdict import decide, judge_registered
from sdeictl.text import Line

Tell = Callable[[str], None]
Show = Callable[[Json, Iterable[Line]], None]
Reasons = tuple[Reason, ...]
Outcome = tuple[DrillResult, bytes, Json | None]
"""The result, its log slice, and the window."""


class Call:
    """One call of a drill on this host."""

    def __init__(self, drill: str, variant: str | None, show: Show, *, masked: bool) -> None:
        self.root = LiveRoot()
        self.facts = collect(self.root)
        self.is_arm64 = self.facts.architecture == "arm64"
        self.host = read_drill_host(self.root, self.facts.release, masked=masked and self.is_arm64)
        identifier = f"{time_stamp()}-{drill}"
        host = host_json(self.facts)
        self.identity = Identity(identifier, drill, variant, host, read_boot_id(self.root))
        self._show = show

    def entry(self, settings: tuple[Setting, ...], aftermath: Aftermath | None = None) -> Entry:
        """Return what the journal has to know."""
        identity = self.identity
        return Entry(
            identity.id, identity.drill, identity.variant, identity.boot_id, os.getpid(), settings, aftermath
        )

    def show_plan(self, lines: list[tuple[str, str]]) -> Status:
        """Show what would be done."""
        self._show(plan_json(lines, ()), render_plan(lines))
        return Status.GOOD

    def show_reasons(self, reasons: Reasons) -> Status:
        """Show why it would be refused."""
        self._show(plan_json(None, reasons), render_reasons(reasons))
        return refused_status(reasons)

    def refuse(self, reasons: Reasons) -> Status:
        """Show a refusal; nothing is stored of it."""
        document = result_json(refuse(reasons), self.identity)
        self._show(document, render_reasons(reasons))
        return refused_status(reasons)

    def carry_out(self, drill: Session[Seen], judge_it: Callable[[Seen], Outcome]) -> Status:
        """Run a drill; its result is stored before its journal ends, and then shown."""
        try:
            document = drill.run(lambda seen: store(self.identity, drill.tell, *judge_it(seen)))
        except DrillRefusedError as refusal:
            return self.refuse(refusal.reasons)
        except OSError as error:
            text = (
                f"the drill could not go on ({error_text(error)}); `sdeictl drill status` tells what is left"
            )
            raise SdeictlError(text, Status.UNKNOWN) from error
        self._show(document, render_result(document))
        return STATUSES[document["outcome"]]


def store(
    identity: Identity, tell: Tell, result: DrillResult, log: bytes = b"", window: Json | None = None
) -> Json:
    """Keep a result and its log slice; one that cannot be kept says so. Return the document."""
    if result.lost_cpus:
        # The commit of a file system's journal can need the lost CPU: then this process ends with the host.
        cpus = ", ".join(map(str, result.lost_cpus))
        tell(f"CPU {cpus} does not come back: this host needs a reset; writing to its disks may never end")
    evidence = f"{STATE_DIRECTORY}/{identity.id}.log" if log else identity.evidence
    document = result_json(result, identity._replace(evidence=evidence), window)
    if log:
        document["evidence_sha256"] = hashlib.sha256(log).hexdigest()
    try:
        store_result(identity.id, json.dumps(document, indent=1).encode() + b"\n", log)
    except OSError as error:
        document["evidence"] = None
        document["reasons"].append(f"The result could not be stored: {error.strerror}.")
    return document


def run_backtrace(request: Request, *, dry_run: bool, tell: Tell, show: Show) -> Status:
    """Run `drill backtrace` on this host, show its result, and return the exit status."""
    call = Call("backtrace", "masked" if request.masked else None, show, masked=request.masked)
    reasons = guard(call.facts, call.host, request)
    if reasons:
        return call.show_reasons(reasons) if dry_run else call.refuse(reasons)
    plan = make_plan(request, call.host)
    if dry_run:
        return call.show_plan(plan_lines(plan, call.host.console_level))
    entry = call.entry(quiet_console(call.host.console_level))

    def judge_it(observed: Observed) -> Outcome:
        result = judge(plan, predict(call.facts), observed)
        return result, observed.log, window_json(result, plan) if request.masked else None

    return call.carry_out(BacktraceDrill(call.root, call.host, plan, entry, tell), judge_it)


def run_lockup(
    request: Request, thresh: int | None, consent: Consent, *, dry_run: bool, tell: Tell, show: Show
) -> Status:
    """Run `drill lockup` on this host, show its result, and return the exit status."""
    call = Call("lockup", None, show, masked=True)
    request = request._replace(seconds=THRESHOLDS * (thresh or call.host.watchdog_thresh or 10))
    reasons = tuple(about_host(call.facts, call.host))
    if call.is_arm64:
        danger = read_danger(call.root)
        reasons += tuple(guard_lockup(call.facts, call.host, danger, consent, request))
        reasons += _about_thresh(call.host.watchdog_thresh, thresh)
    if reasons:
        return call.show_reasons(reasons) if dry_run else call.refuse(reasons)
    plan = lockup_plan(request, call.host)
    settings = lockup_settings(call.host, thresh)
    if dry_run:
        return call.show_plan([*map(setting_line, settings), *lockup_lines(plan)])
    disarm()

    def judge_it(observed: Observed) -> Outcome:
        result = judge_lockup(plan, predict(call.facts), observed)
        return result, observed.log, window_json(result, plan)

    return call.carry_out(LockupDrill(call.root, call.host, plan, call.entry(settings), tell), judge_it)


def _about_thresh(found: int | None, thresh: int | None) -> Reasons:
    if thresh is not None and found and thresh >= found:
        text = f"{WATCHDOG_THRESH} is {found} already: --thresh is for a lower one."
        return (Reason(POLICY, text),)
    return ()


class ResetRequest(NamedTuple):
    """What the user asked for."""

    drill: str
    variant: str | None
    cpu: int | None = None
    evidence: str | None = None
    """The file in which the kernel's last lines will be."""


def run_reset(request: ResetRequest, consent: Consent, *, dry_run: bool, tell: Tell, show: Show) -> Status:
    """Run a drill that ends in a reset; it comes back only if that did not come about."""
    kind = find_kind(request.drill, request.variant)
    call = Call(kind.drill, kind.variant, show, masked=False)
    channel = choose_channel(call.facts, request.evidence) if kind.outlasts == LOG else None
    reasons = tuple(about_host(call.facts, call.host))
    if call.is_arm64:
        danger = read_danger(call.root)
        reasons += tuple(guard_reset(kind, call.facts, call.host, danger, consent, request.cpu))
        reasons += tuple(about_channel(kind, channel, call.facts))
        if kind.outlasts == VMCORE:
            reasons += tuple(about_dump(try_makedumpfile(), consent))
    if reasons:
        return call.show_reasons(reasons) if dry_run else call.refuse(reasons)
    target = None
    if kind.wedges:
        target = default_target(call.host) if request.cpu is None else request.cpu
    settings = reset_settings(kind, call.root)
    if dry_run:
        return call.show_plan([*map(setting_line, settings), *reset_lines(kind, target, channel)])
    entry = call.entry(settings, _aftermath(call, target, channel))
    disarm()

    def judge_it(returned: Returned) -> Outcome:
        outcome = LOST if returned.stuck else UNKNOWN
        return DrillResult(outcome, (returned.why,), UNKNOWN, lost_cpus=returned.stuck), b"", None

    return call.carry_out(ResetDrill(call.root, call.host, kind, entry, tell), judge_it)


def _aftermath(call: Call, target: int | None, channel: Channel | None) -> Aftermath:
    return Aftermath(
        fired=False,
        target=target,
        channel=channel.name if channel else None,
        path=os.path.abspath(channel.path) if channel and channel.path else None,
        host=call.identity.host,
        places={str(cpu): place for cpu, place in read_places(call.root, call.host.online).items()},
        online=call.host.online,
    )


def predict(facts: HostFacts) -> Predicted:
    """Return what the probe says of the host a drill is about to run on."""
    verdict, _findings = decide(facts)
    return Predicted(verdict.nmi_path, judge_registered(facts, "pseudo-nmi"), facts.bootlog)
