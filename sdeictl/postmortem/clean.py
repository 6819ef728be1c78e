"""What of an account may leave the host: known words, numbers, and the release of the kernel."""

from __future__ import annotations

import re

from sdeictl.host.gap import Gap
from sdeictl.klog.messages.stop import PANIC_REASON
from sdeictl.postmortem.account import BootAccount
from sdeictl.postmortem.examine import JOURNAL, Postmortem
from sdeictl.postmortem.files import is_dump

OTHER = "other"
"""In place of what is not one of the known words."""
_KINDS = ("journal", "pstore")


def clean(found: Postmortem) -> Postmortem:
    """Return the accounts without identifiers, names of files, and text that a driver or a user chose."""
    gaps = tuple(Gap(_kind(gap.source), gap.kind, "") for gap in found.gaps)
    return found._replace(boots=tuple(map(_clean_boot, found.boots)), gaps=gaps)


def _clean_boot(boot: BootAccount) -> BootAccount:
    message = boot.panic
    if message is not None and not re.fullmatch(PANIC_REASON, message, re.ASCII):
        message = OTHER
    return boot._replace(
        boot_id=None,
        panic=message,
        dump=boot.dump._replace(path=None),
        evidence=tuple(map(_kind, boot.evidence)),
    )


def _kind(source: str) -> str:
    """Return what kind of source a name stands for."""
    if source == JOURNAL:
        return source
    kind = next((kind for kind in _KINDS if kind in source.split(",", maxsplit=1)[0]), None)
    return kind or ("dump" if is_dump(source.rpartition("/")[2]) else "log")
