"""A check: one question about a host, and how its sources answer it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from sdeictl.host.paths import KALLSYMS, KMSG
from sdeictl.klog.words import NmiPath
from sdeictl.probe.facts import HostFacts
from sdeictl.probe.words import Outcome, Owner, Severity
from sdeictl.text import NamedTuple

if TYPE_CHECKING:
    from sdeictl.probe.document import CheckDocument


class Witness(NamedTuple):
    """What one source says about one question."""

    holds: bool | None
    """None: the source leaves the question open, and `seen` says why."""
    seen: str
    source: str
    applies: bool = True
    """False: this source shows that the question does not apply."""
    owner: Owner | None = None
    """Who can fix it, where that is not the owner of the check."""
    remedy: str = ""
    """How, where that is not the remedy of the check."""


class Check(NamedTuple):
    """One question, about a link of the chain or about something around it."""

    id: str
    path: NmiPath | None
    """The NMI path that needs this link; None where the verdict does not depend on it."""
    title: str
    """What should be true, a sentence without its full stop."""
    why: str
    """Why it matters, sentences."""
    wanted: str
    """What the sources show if it is true."""
    remedy: str
    owner: Owner
    witnesses: Callable[[HostFacts], Iterator[Witness]]
    doubt: Severity = Severity.NOTICE
    """How much it matters that the answer is unknown."""
    decides: bool = False
    """The verdict rests on it: sources that contradict each other leave it unknown."""

    def document(self) -> CheckDocument:
        """Return the check as `sdeictl explain --format json` prints it."""
        return {
            "id": self.id,
            "path": self.path or "",
            "title": self.title,
            "why": self.why,
            "wanted": self.wanted,
            "remedy": self.remedy,
            "owner": self.owner,
        }


class Finding(NamedTuple):
    """The judgement on one check, with its evidence."""

    id: str
    title: str
    outcome: Outcome
    severity: Severity
    seen: str
    wanted: str
    sources: tuple[str, ...]
    remedy: str
    owner: Owner


def judge(check: Check, facts: HostFacts) -> Finding:
    """Return the finding of a check: the first definite witness decides, and those that agree are named.

    Where the verdict rests on the check, no witness may contradict it.
    """
    # Witnesses name the kernel log by its usual path.
    log = {KMSG: facts.log_source}
    witnesses = tuple(w._replace(source=log.get(w.source, w.source)) for w in check.witnesses(facts))
    decisive = next((witness for witness in witnesses if witness.holds is not None), None)
    if decisive is None:
        outcome = Outcome.UNKNOWN
        seen = (
            "; ".join(witness.seen for witness in witnesses)
            or "no source that could answer this was read; see the gaps"
        )
        sources = tuple(witness.source for witness in witnesses)
        owner, remedy = None, ""
    else:
        outcome = (
            (Outcome.PASS if decisive.holds else Outcome.FAIL) if decisive.applies else Outcome.NOT_APPLICABLE
        )
        others = [witness for witness in witnesses if witness is not decisive and witness.holds is not None]
        against = [w for w in others if w.holds != decisive.holds and decisive.applies]
        seen = "; ".join([decisive.seen, *(f"but {witness.seen}" for witness in against)])
        if against and check.decides:
            outcome = Outcome.UNKNOWN
        owner, remedy = decisive.owner, decisive.remedy
        sources = (decisive.source, *(w.source for w in others if w.holds == decisive.holds))
    severity = {
        Outcome.FAIL: Severity.ERROR if check.path else Severity.WARNING,
        Outcome.UNKNOWN: check.doubt,
    }.get(outcome, Severity.INFO)
    return Finding(
        check.id, check.title, outcome, severity, seen, check.wanted, tuple(dict.fromkeys(sources)),
        remedy or check.remedy, owner or check.owner,
    )  # fmt: skip


def configured(facts: HostFacts, symbol: str) -> Iterator[Witness]:
    """Return what each copy of the kernel configuration says about a symbol that should be `y`."""
    for config in facts.configs:
        value = dict(config.values).get(symbol)
        if value is not None:
            word = " is not set" if value == "n" else f"={value}"
            # A module may be loaded or not.
            yield Witness({"y": True, "m": None}.get(value, False), f"CONFIG_{symbol}{word}", config.source)
        else:
            # /proc/config.gz is part of the kernel and whole: an option without a line is off.
            holds = False if config.of_running_kernel else None
            yield Witness(holds, f"CONFIG_{symbol} is not listed", config.source)


def has_function(facts: HostFacts, name: str) -> Iterator[Witness]:
    """Return what /proc/kallsyms says about a function of the kernel."""
    if facts.symbols and name in facts.symbols.names:
        yield Witness(True, f"the kernel has {name}()", KALLSYMS)
    elif facts.symbols and facts.symbols.complete:
        yield Witness(False, f"the kernel does not have {name}()", KALLSYMS)
