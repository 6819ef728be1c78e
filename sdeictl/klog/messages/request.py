"""Messages of a backtrace request: who asks whom, and when the kernel stops waiting.

lib/nmi_backtrace.c, drivers/tty/sysrq.c (Linux 4.19 to 7.3). The answers are in backtrace.py.
"""

from __future__ import annotations

import re

from sdeictl.klog.messages.message import Message

FROM = "Sending NMI from CPU "
TIMED_OUT = "haven't responded to the NMI"

REQUEST = Message(FROM, FROM + r"(\d{1,5}) to CPUs ([\d,-]{1,20000}):$")
"""Groups: the CPU that sends the request, and the list of its targets."""
TIMEOUT = Message("After 10 seconds, ", rf"After 10 seconds, these CPUS still {TIMED_OUT}: ([\d,-]+)$")
"""The kernel stops waiting. Group: the list of the CPUs that have not answered."""
SYSRQ_L = Message("sysrq: S", r"sysrq: (?:SysRq : )?Show backtrace of all active CPUs")
"""The operator asks for backtraces by sysrq-l. Linux 4.19 prints "SysRq : "."""


def is_request(text: str) -> bool:
    """Tell whether a line is a backtrace request."""
    return bool(re.match(FROM + r"\d{1,5} to CPUs ", text, re.ASCII))
