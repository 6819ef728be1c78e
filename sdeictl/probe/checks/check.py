"""One check: a question about a host, and the judgement on it from what its sources say."""

import posixpath
from collections.abc import Callable, Iterator
from typing import NamedTuple

from sdeictl.probe.facts import KMSG, HostFacts
from sdeictl.probe.kernel import KALLSYMS

PASS, FAIL, UNKNOWN, NOT_APPLICABLE = "pass", "fail", "unknown", "not-applicable"


class Witness(NamedTuple):
    """What one source says about one question."""

    holds: bool | None
    """None: it leaves the question open, `seen` says why."""
    seen: str
    source: str
    applies: bool = True
    """False: by this source the question does not arise."""
    owner: str | None = None
    """Who can act, if it is another than the check's."""


class Check(NamedTuple):
    """One question about one link of the chain, or about what stands around it."""

    id: str
    path: str
    """The nmi path that needs this link, `sdei` or `pseudo-nmi`; "" where the verdict does not hang on it."""
    title: str
    """What should be so, a sentence."""
    why: str
    """Why it matters."""
    wanted: str
    """What the sources show where it is so."""
    remedy: str
    owner: str
    """Who can act: firmware | kernel | admin."""
    witnesses: Callable[[HostFacts], Iterator[Witness]]

    def to_json(self) -> dict[str, object]:
        """Return the check as JSON has it."""
        fields = self._asdict()
        del fields["witnesses"]
        return fields


class Finding(NamedTuple):
    """The judgement on one check, with its evidence."""

    id: str
    title: str
    outcome: str
    severity: str
    """error (a link of the chain is broken) | warning (something around it) | notice (unknown) | info."""
    seen: str
    wanted: str
    sources: tuple[str, ...]
    remedy: str
    owner: str


def judge(check: Check, facts: HostFacts) -> Finding:
    """Return the finding of one check: the first definite witness decides, the agreeing ones are named."""
    # Witnesses name the kernel log by its usual place.
    log = {KMSG: facts.log_source}
    witnesses = tuple(w._replace(source=log.get(w.source, w.source)) for w in check.witnesses(facts))
    decisive = next((witness for witness in witnesses if witness.holds is not None), None)
    if decisive is None:
        outcome = UNKNOWN
        seen = (
            "; ".join(witness.seen for witness in witnesses)
            or "no source for this could be read; see the gaps"
        )
        sources = tuple(witness.source for witness in witnesses)
        owner = None
    else:
        outcome = (PASS if decisive.holds else FAIL) if decisive.applies else NOT_APPLICABLE
        others = [witness for witness in witnesses if witness is not decisive and witness.holds is not None]
        against = [w for w in others if w.holds != decisive.holds and decisive.applies]
        seen = "; ".join([decisive.seen, *(f"but {witness.seen}" for witness in against)])
        owner = decisive.owner
        sources = (decisive.source, *(w.source for w in others if w.holds == decisive.holds))
    severity = {FAIL: "error" if check.path else "warning", UNKNOWN: "notice"}.get(outcome, "info")
    return Finding(
        check.id, check.title, outcome, severity, seen, check.wanted, tuple(dict.fromkeys(sources)),
        check.remedy, owner or check.owner,
    )  # fmt: skip


def configured(facts: HostFacts, symbol: str) -> Iterator[Witness]:
    """Return what each copy of the kernel's configuration says of a symbol that should be `y`."""
    for config in facts.configs:
        value = dict(config.values).get(symbol)
        if value is not None:
            word = " is not set" if value == "n" else f"={value}"
            # A module may be loaded or not.
            yield Witness({"y": True, "m": None}.get(value, False), f"CONFIG_{symbol}{word}", config.source)
        else:
            # Part of the kernel and whole: an option without a line is off in that kernel.
            holds = False if config.of_running_kernel else None
            yield Witness(holds, f"CONFIG_{symbol} is not listed", config.source)


def has_function(facts: HostFacts, name: str) -> Iterator[Witness]:
    """Return what /proc/kallsyms says of a function of the kernel."""
    if facts.symbols and name in facts.symbols.names:
        yield Witness(True, f"the kernel has {name}()", KALLSYMS)
    elif facts.symbols and facts.symbols.complete:
        yield Witness(False, f"the kernel has no {name}()", KALLSYMS)


def setting(facts: HostFacts, path: str) -> str | None:
    """Return a setting's value; None if it is not there or could not be read."""
    return dict(facts.settings or ()).get(path)


def lacks(facts: HostFacts, path: str) -> bool:
    """Tell whether a setting is not there, in a directory that is."""
    known = [name for name, _ in facts.settings or ()]
    directory = posixpath.dirname(path)
    return (
        path not in known
        and any(posixpath.dirname(name) == directory for name in known)
        and not any(gap.source == path for gap in facts.gaps)
    )


def number(facts: HostFacts, path: str) -> int | None:
    """Return a setting's value as a number; None if it is none."""
    value = setting(facts, path) or ""
    return int(value) if value.isascii() and value.isdecimal() else None
