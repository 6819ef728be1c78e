"""Opens the host that the user named: the running host, a directory tree or a capture file."""

from __future__ import annotations

import os

from sdeictl.errors import SdeictlError, Status
from sdeictl.host.directory import DirectoryRoot
from sdeictl.host.root import Root


def open_root(path: str | None) -> Root:
    """Return the host at a path: a directory tree or a capture file; None means the running host.

    Raises SdeictlError: with Status.USAGE if the path does not exist, with Status.UNKNOWN if it is neither.
    """
    if path is None:
        from sdeictl.host.live import LiveRoot  # noqa: PLC0415 - a captured host does without

        return LiveRoot()
    if not os.path.exists(path):
        raise SdeictlError(f"{path} does not exist", Status.USAGE)
    if os.path.isdir(path):
        return DirectoryRoot(path)
    from sdeictl.host.archive import CaptureRoot  # noqa: PLC0415 - tarfile costs more than a directory's probe

    return CaptureRoot(path)
