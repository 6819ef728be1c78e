"""What a crash left: a log and a dump of any bytes give an account of each boot."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from sdeictl.host.log_alone import LogRoot
from sdeictl.klog.log import read_boots
from sdeictl.postmortem.account import BootEvidence, make_account
from sdeictl.postmortem.document import postmortem_document, read_stored
from sdeictl.postmortem.examine import Postmortem
from sdeictl.postmortem.files import read_dump, read_log
from sdeictl.postmortem.join import merge_logs
from sdeictl.postmortem.sentences import summarize
from sdeictl.postmortem.text import render_postmortem
from tests.fuzz.harness import Target
from tests.fuzz.shapes import Dice, edited_json, patched
from tests.fuzz.targets.vmcore_kdump import BASES

LOG = (
    b"[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x411fd070]\n"
    b"[    0.512345] sdei_nmi: using SDEI cross-CPU NMI (SDEI_EVENT_SIGNAL, event 0)\n"
    b"[   16.259239] watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 1\n"
    b"[   25.245521] After 10 seconds, these CPUS still haven't responded to the NMI: 1\n"
    b"[   26.375019] Kernel panic - not syncing: Hard LOCKUP\n"
    b"[   26.376559] SMP: stopping secondary CPUs\n"
    b"[   30.355858] SMP: failed to stop secondary CPUs 1,3\n"
)
ACCOUNT = make_account(BootEvidence(merge_logs(read_log(("x",), [LOG])[0].logs), ("x",)))
DOCUMENT: Any = postmortem_document(Postmortem((ACCOUNT,), (), ("Do this.",)))


def seeds() -> Iterator[bytes]:
    yield b"\0" + LOG
    yield b"\1" + LOG[200:]
    yield b"\1\2\x10\0\0\4\xff\xff"


class Stored(LogRoot):
    """A capture with any bytes as its account."""

    def read(self, path: str) -> bytes:  # noqa: ARG002 - the one file
        return self._log


def check(data: bytes) -> None:
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        list(render_postmortem(read_stored(Stored(edited_json(DOCUMENT, data)))))
    found = read_log(("log",), [data[1:]])
    dice = Dice(data)
    dump = read_dump("dump", io.BytesIO(patched(dice.pick(BASES), dice)))
    logs = [*dump.logs, *(log for find in found for log in find.logs)]
    merged = merge_logs(logs)
    assert len(merged.records) <= sum(len(each.records) for each in logs)
    account = make_account(BootEvidence(merged, ("log", "dump"), dump=dump.dump, core=dump.core))
    assert summarize(account).isprintable() or account.panic


TARGET = Target(
    check,
    seeds,
    (read_log, read_boots, read_dump, read_stored),
    ("Kernel panic - not syncing: ", "SMP: "),
    2048,
)
