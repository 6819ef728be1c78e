"""What to switch on so that the next crash leaves more."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl.host.journal import JOURNALS
from sdeictl.host.paths import KEXEC_CRASH_LOADED, PSTORE_BACKEND
from sdeictl.host.reader import Reader

PERSISTENT = (
    "Keep the journal of earlier boots: set Storage=persistent in /etc/systemd/journald.conf and restart"
    " systemd-journald."
)
KEEP_PSTORE = (
    "Let the kernel keep its last lines over a reset: load a pstore backend (efi_pstore, erst, or ramoops"
    " with reserved memory), and enable systemd-pstore.service."
)
LOAD_KDUMP = (
    "Let a crash leave a dump: install the kdump service of the distribution (kdump-tools, kdump-utils,"
    " kdump), and boot with crashkernel=."
)


def advise(reader: Reader) -> Iterator[str]:
    """Yield what is not switched on, as sentences."""
    if reader.listing(JOURNALS[0]) is None:
        yield PERSISTENT
    if reader.value(PSTORE_BACKEND) in (None, "(null)", ""):
        yield KEEP_PSTORE
    if reader.value(KEXEC_CRASH_LOADED) != "1":
        yield LOAD_KDUMP
