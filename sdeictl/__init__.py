"""sdeictl: can this arm64 host still reach a CPU that is stuck with its interrupts masked?"""

from __future__ import annotations

__version__ = "0.1.0"
