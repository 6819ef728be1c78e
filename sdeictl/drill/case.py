"""One call of a drill: which drill it is, the host before it, and what is stored of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable

from sdeictl.drill.result import DrillResult, Identity, drill_document
from sdeictl.host.live import LiveRoot
from sdeictl.host.paths import DRILL_RESULTS
from sdeictl.host.root import Root
from sdeictl.interlock.journal import Aftermath, Entry, Setting
from sdeictl.interlock.refusals import Reason, ReasonKind, refusals_for_host
from sdeictl.interlock.results import DrillDocument, WindowDocument
from sdeictl.interlock.survey import Survey, read_boot_id, read_survey
from sdeictl.probe.collect import collect
from sdeictl.probe.drills import DrillKind, time_stamp
from sdeictl.probe.report import describe_host
from sdeictl.text import NamedTuple, list_cpus

Tell = Callable[[str], None]
"""Shows the operator the next step."""


class Case(NamedTuple):
    """One call of a drill on this host."""

    root: Root
    identity: Identity
    survey: Survey


class DrillRefusedError(Exception):
    """A drill was refused before its trigger."""

    def __init__(self, identity: Identity, reasons: tuple[Reason, ...]) -> None:
        super().__init__(" ".join(reason.text for reason in reasons))
        self.identity = identity
        self.reasons = reasons


def open_case(kind: DrillKind, variant: str | None, *, providers: bool, trial: bool = True) -> Case:
    """Survey this host for a drill; with `providers` also what could mask a CPU for a bounded time.

    A plan is made without `trial`: it changes nothing.
    """
    root = LiveRoot()
    facts = collect(root)
    wanted = providers and facts.architecture == "arm64"
    survey = read_survey(root, facts, providers=wanted, trial=trial)
    identifier = f"{time_stamp()}-{kind}"
    return Case(root, Identity(identifier, kind, variant, describe_host(facts), read_boot_id(root)), survey)


def reasons_against_arming() -> list[Reason]:
    """Return why neither a drill nor `bench ab`, which needs one CPU only, can ever begin here."""
    survey = open_case(DrillKind.BACKTRACE, None, providers=False).survey
    reasons = list(refusals_for_host(survey))
    if survey.facts.architecture == "arm64":
        return [reason for reason in reasons if reason.kind is ReasonKind.PRIVILEGE]
    return reasons


def refuse_case(case: Case, reasons: Iterable[Reason]) -> None:
    """Raise DrillRefusedError with every reason, if there is one."""
    if found := tuple(reasons):
        raise DrillRefusedError(case.identity, found)


def make_entry(case: Case, settings: tuple[Setting, ...], aftermath: Aftermath | None = None) -> Entry:
    """Return what the journal must hold before the drill begins."""
    identity = case.identity
    return Entry(
        identity.id, identity.kind, identity.variant, identity.boot_id, os.getpid(), settings, aftermath
    )


def describe_drill(
    identity: Identity,
    tell: Tell,
    result: DrillResult,
    log: bytes = b"",
    window: WindowDocument | None = None,
    evidence: str | None = None,
) -> DrillDocument:
    """Return what is stored of a drill; if a CPU is lost, tell first that storing it may never end.

    `evidence` is the file that it was judged from, if its own log slice is not stored.
    """
    if result.lost_cpus:
        # The commit of a file system's journal can need the lost CPU: then this process ends with the host.
        cpus = list_cpus(result.lost_cpus)
        tell(f"CPU {cpus} does not come back: this host needs a reset; writing to its disks may never end")
    if log:
        evidence = f"{DRILL_RESULTS}/{identity.id}.log"
    document = drill_document(result, identity, window, evidence)
    if log:
        document["evidence_sha256"] = hashlib.sha256(log).hexdigest()
    return document
