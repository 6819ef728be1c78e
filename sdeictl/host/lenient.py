"""Reads of the running host in which what does not exist, or cannot be read, is empty."""

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
