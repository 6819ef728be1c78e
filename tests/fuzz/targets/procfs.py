"""What a survey before a drill reads of /proc and /sys: threads, mounts, crash types, watchdogs."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl.bench.kexec import find_encrypted
from sdeictl.host.paths import BOOT_ID, CPUS_ONLINE, LKDTM_DIRECT, WATCHDOGS
from sdeictl.interlock.lkdtm import read_crash_types
from sdeictl.interlock.load import parse_thread
from sdeictl.interlock.survey import FORGETFUL, forgetful_type, read_boot_id, read_online
from sdeictl.interlock.watchdogs import read_watchdogs
from tests.fuzz.harness import Target
from tests.fuzz.hosts import MemoryRoot
from tests.fuzz.shapes import Dice, with_long_numbers

STAT = b"12 (a) b) S 1 12 12 0 -1 2097152 " + b"0 " * 29 + b"3 0 0\n"
MOUNTS = b"22 1 0:20 / / rw - tmpfs tmpfs rw\n30 22 8:1 / /var\\040x rw shared:1 - ext4 /dev/sda1 rw\n"
CRASH_TYPES = b"Available crash types:\nPANIC\nHARDLOCKUP\n"
DOG = f"{WATCHDOGS}/watchdog0"


def seeds() -> Iterator[bytes]:
    for kind, text in enumerate((STAT, MOUNTS, CRASH_TYPES, b"active\0" + b"10\n\0" + b"1\n", b"0-3\n")):
        yield from (bytes([kind]) + long for long in with_long_numbers((text,)))


def check(data: bytes) -> None:
    """The first byte says what the rest is."""
    dice = Dice(data)
    kind, content = dice.number(5), dice.rest()
    text = content.decode("utf-8", "replace")
    if kind == 0:
        try:
            thread = parse_thread(text)
        except (ValueError, IndexError):
            return
        assert isinstance(thread.of_kernel, bool)
    elif kind == 1:
        assert forgetful_type("/var/lib", text) in ("", *FORGETFUL)
        find_encrypted(text, "/nowhere")
    elif kind == 2:
        found = read_crash_types(MemoryRoot({LKDTM_DIRECT: content}))
        assert all("\n" not in name for name in found)
    elif kind == 3:
        state, timeout, nowayout = (content.split(b"\0") + [b""] * 3)[:3]
        files = {f"{DOG}/state": state, f"{DOG}/timeout": timeout, f"{DOG}/nowayout": nowayout}
        (dog,) = read_watchdogs(MemoryRoot({**files, f"{DOG}/timeleft": timeout}))
        assert dog.sure_seconds is None or dog.sure_seconds > 0
    else:
        root = MemoryRoot({CPUS_ONLINE: content, BOOT_ID: content})
        assert read_online(root) == tuple(sorted(set(read_online(root))))
        try:
            assert read_boot_id(root)
        except OSError as error:
            assert error.strerror


TARGET = Target(
    check, seeds, (parse_thread, read_crash_types, read_watchdogs, read_online, read_boot_id),
    (" - tmpfs x", " / / rw", " (", ") S "), 8192,
)  # fmt: skip
