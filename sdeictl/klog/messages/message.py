"""The type of a kernel message: the beginning of its line, and the pattern that reads it. No I/O.

Each module of messages/ holds the messages of one subject and names the kernel files that print them. Where a
pattern takes text that is not the kernel's own, klog/public.py says what of it may leave the host.
"""

from __future__ import annotations

import re

from sdeictl.text import NamedTuple


def run_of(*words: str) -> str:
    """Return a pattern for a run of these words and of numbers. It ends before any other word."""
    word = rf"(?:{'|'.join(words)}|-?\d{{1,10}})(?![\w-])"
    return rf"(?:{word}(?:[ ,.:\[\]]{{1,3}}{word})*)?"


class Message(NamedTuple):
    """A message of the kernel. Its pattern is compiled only when a line has the right beginning."""

    begins: str
    pattern: str
    """A regular expression that matches at the start of the line."""

    def match(self, text: str) -> re.Match[str] | None:
        """Return the match of a line; None if the line is another message."""
        return re.match(self.pattern, text, re.ASCII) if text.startswith(self.begins) else None

    def first(self, text: str) -> str | None:
        """Return the first group of a match, or the whole match if the pattern has no group.

        Another message gives None. A blank at the end is left out: it belongs to words that are not known.
        """
        match = self.match(text)
        if not match:
            return None
        return match[1 if match.re.groups else 0].rstrip(" ")
