"""Reads of the running host that return an empty value for a missing file.

Some of them also return it for a file that cannot be read; the others raise OSError.
"""

from __future__ import annotations

from sdeictl.host.root import Root


def text_of(root: Root, path: str) -> str:
    """Return the content of a file; "" if it cannot be read."""
    try:
        return root.read(path).decode("utf-8", "replace")
    except OSError:
        return ""


def names_in(root: Root, path: str) -> tuple[str, ...]:
    """Return the names in a directory; () if it cannot be read."""
    try:
        return root.names(path)
    except OSError:
        return ()


def text_if_exists(root: Root, path: str) -> str:
    """Return the content of a file; "" if it does not exist. Raises OSError if it cannot be read."""
    try:
        return root.read(path).decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return ""


def names_if_exist(root: Root, path: str) -> tuple[str, ...]:
    """Return the names in a directory; () if it does not exist. Raises OSError if it cannot be read."""
    try:
        return root.names(path)
    except (FileNotFoundError, NotADirectoryError):
        return ()
