"""A report of sos(1) as a Root. It has files at their paths, and the outputs of commands in sos_commands."""

from __future__ import annotations

import contextlib
import errno
import posixpath
import re
from collections.abc import Iterable

from sdeictl.host.files import not_found
from sdeictl.host.log_alone import LOG
from sdeictl.host.manifest import NOT_COPIED
from sdeictl.host.paths import ACPI_TABLES, SYSCTLS, VERSION
from sdeictl.host.root import Root
from sdeictl.text import lines_of

MARK = "/sos_commands"
"""A directory that each report has."""
_LOGS = (
    "/sos_commands/kernel/dmesg", "/sos_commands/general/dmesg",
    "/sos_commands/logs/journalctl_--no-pager_--boot", "/sos_commands/logs/journalctl_--no-pager",
    "/var/log/dmesg", "/var/log/kern.log",
)  # fmt: skip
"""The kernel log, from the best source to the last."""
_UNAME = "/sos_commands/kernel/uname_-a"
_SETTINGS = "/sos_commands/kernel/sysctl_-a"
_OUTER_SETTINGS = (b"fs", b"vm")
"""`sysctl -a` is sorted: groups before and after the kernel's own."""
_SETTING_FILES = f"{posixpath.dirname(SYSCTLS)}/"
_LISTING = "/sos_commands/boot/ls_-alZR_.sys.firmware"
"""What `ls -alZR /sys/firmware` printed."""
OUTPUTS = frozenset((*_LOGS, _UNAME, _SETTINGS, _LISTING))
"""The logs and the outputs of commands that are read."""
MAX_OUTPUT_BYTES = 4 << 20
"""Limit for the output of a command other than a log."""
_MAX_UNAME_BYTES = 4096
_UNAME_RELEASE = re.compile(rb" (\d+\.\d+[\w.+~:-]{0,60}) #")
"""The release stands between the name of the host, which may have blanks, and the number of the build."""


class SosRoot:
    """A host of which sos copied some files.

    A missing file proves nothing, because sos copies few files: to read it is an error. Only two directories
    have names, because sos lists them: the ACPI tables and the settings of the kernel.
    """

    live = False

    def __init__(self, tree: Root) -> None:
        self._tree = tree
        self._outputs: dict[str, bytes] = {}

    def read(self, path: str) -> bytes:
        """Return the content of a file, or what stands for it in the report."""
        if path == LOG:
            return self._first(_LOGS)
        if path == VERSION:
            return self._version()
        try:
            return self._tree.read(path)
        except FileNotFoundError as error:
            if posixpath.dirname(path) == "/":  # where only a capture has files
                raise
            if path.startswith(_SETTING_FILES):
                return self._setting(path)
            raise _not_copied(path) from error

    def search(self, path: str, words: Iterable[bytes], ends: bytes) -> frozenset[bytes]:
        """Return the words that occur in a file and are followed by one of the bytes in `ends`."""
        try:
            return self._tree.search(path, words, ends)
        except FileNotFoundError as error:
            raise _not_copied(path) from error

    def names(self, path: str) -> tuple[str, ...]:
        """Return the names of the ACPI tables or of the settings; for another directory FileNotFoundError."""
        if path == SYSCTLS:
            return self._settings()
        if path != ACPI_TABLES:
            raise not_found(path)
        copied = self._tree.names(path)
        try:
            listed = self._output(_LISTING).decode("utf-8", "replace")
        except FileNotFoundError:
            return copied
        # A table that sos could not copy exists all the same.
        return tuple(sorted({*copied, *_listed_tables(listed)}))

    def link(self, path: str) -> str:
        """Return the target of a symbolic link."""
        try:
            return self._tree.link(path)
        except FileNotFoundError as error:
            raise _not_copied(path) from error

    def _output(self, path: str) -> bytes:
        """Return the output of a command; it is read once, and many settings are looked for in it."""
        if path not in self._outputs:
            data = self._tree.read(path)
            if len(data) > MAX_OUTPUT_BYTES:
                raise OSError(errno.EFBIG, f"it has more than {MAX_OUTPUT_BYTES >> 20} MiB", path)
            self._outputs[path] = data
        return self._outputs[path]

    def _first(self, paths: Iterable[str]) -> bytes:
        for path in paths:
            try:
                data = self._tree.read(path)
            except OSError:
                continue
            if data.strip():
                return data
        raise not_found(LOG)

    def _setting(self, path: str) -> bytes:
        """Return a file of /proc/sys as far as `sysctl -a` shows it."""
        try:
            listed = self._output(_SETTINGS)
        except FileNotFoundError as error:
            raise _not_copied(path) from error
        name = path[len(_SETTING_FILES) :].replace("/", ".")
        if found := re.search(rb"^%b = (.*)$" % re.escape(name).encode(), listed, re.MULTILINE):
            return found[1] + b"\n"
        raise not_found(path) if _is_whole(listed) else _not_copied(path)

    def _settings(self) -> tuple[str, ...]:
        """Return the names in /proc/sys/kernel; raise FileNotFoundError if the list is not whole."""
        listed = self._output(_SETTINGS)
        if not _is_whole(listed):
            raise not_found(SYSCTLS)
        names = re.findall(rb"^kernel\.([^.\s]+)(?:\.\S+)? = ", listed, re.MULTILINE)
        return tuple(sorted({name.decode("utf-8", "replace") for name in names}))

    def _version(self) -> bytes:
        """Return /proc/version as far as `uname -a` shows it, without the name of the host."""
        with contextlib.suppress(FileNotFoundError):
            return self._tree.read(VERSION)
        release = _UNAME_RELEASE.search(self._first((_UNAME,))[:_MAX_UNAME_BYTES])
        if not release:
            raise not_found(VERSION)
        return b"Linux version %b \n" % release[1]


def _is_whole(listed: bytes) -> bool:
    """Tell whether a list of all settings has the groups before and after the kernel's own."""
    return all(re.search(rb"^%b\." % group, listed, re.MULTILINE) for group in _OUTER_SETTINGS)


def _not_copied(path: str) -> OSError:
    return OSError(errno.ENODATA, NOT_COPIED, path)


def _listed_tables(listing: str) -> list[str]:
    """Return the names of the files in the part of a listing about the ACPI tables."""
    part = re.search(rf"^{re.escape(ACPI_TABLES)}:\n(.*?)(?:\n\n|\Z)", listing, re.MULTILINE | re.DOTALL)
    lines = lines_of(part[1]) if part else []
    return [line.split()[-1] for line in lines if line.startswith("-")]
