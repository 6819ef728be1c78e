"""What the journal keeps of a drill, so that it can be judged if the host goes down in it."""

from __future__ import annotations

import os
from string import hexdigits

from sdeictl.drill.case import Case
from sdeictl.host.paths import cpu_device
from sdeictl.host.root import Root
from sdeictl.interlock.journal import Aftermath
from sdeictl.probe.facts import HostFacts
from sdeictl.text import NamedTuple


class Channel(NamedTuple):
    """Where the last lines of the kernel are after a reset."""

    name: str
    """`ramoops`, or `stated`: a file that the operator names."""
    path: str | None


def choose_channel(facts: HostFacts, stated: str | None) -> Channel | None:
    """Return what will carry the log across the reset, None if nothing does.

    A record of kmsg_dump (ERST, EFI, the dumps of ramoops) does not count: the kernel writes it before it
    stops the CPUs.
    """
    evidence = facts.evidence
    if stated:
        return Channel("stated", stated)
    if evidence and evidence.pstore == "ramoops" and evidence.ramoops_console:
        return Channel("ramoops", None)
    return None


def make_aftermath(case: Case, target: int | None, channel: Channel | None) -> Aftermath:
    """Return what a drill leaves in the journal before it begins.

    `channel` carries the last lines of the kernel across a reset.
    """
    places = read_note_places(case.root, case.survey.online)
    return Aftermath(
        fired=False,
        target=target,
        channel=channel.name if channel else None,
        path=os.path.abspath(channel.path) if channel and channel.path else None,
        host=case.identity.host,
        places={str(cpu): place for cpu, place in places.items()},
        online=case.survey.online,
    )


def read_note_places(root: Root, cpus: tuple[int, ...]) -> dict[int, int]:
    """Return the physical address at which each CPU leaves its registers when the kernel crashes."""
    found = {}
    for cpu in cpus:
        try:
            text = root.read(cpu_device(cpu, "crash_notes")).decode("ascii", "replace").strip()
        except OSError:
            continue
        if text and all(digit in hexdigits for digit in text):
            found[cpu] = int(text, 16)
    return found
