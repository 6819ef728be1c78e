"""Can this arm64 host still reach a CPU that is stuck with its interrupts masked?"""

__version__ = "0.1.0"
