"""Messages of the RCU stall detector: kernel/rcu/tree_stall.h and tree_exp.h (Linux 7.3)."""

from __future__ import annotations

from sdeictl.klog.messages.message import Message

RCU = "rcu: "

STALL = tuple(
    Message(begins, begins + r"(\w+) (detected (?:expedited )?stalls|self-detected stall) on ")
    for begins in (f"{RCU}INFO: ", "INFO: ")
)
"""Groups: the flavor of RCU, and how the stall was detected."""
STALLED_CPU = Message(f"{RCU}\t", rf"{RCU}\t(\d{{1,5}})-[.O?!][.o?!]")
"""Group: a CPU that stalls RCU."""

PUBLIC = (r"(?:rcu: )?INFO: \w+ (?:self-)?detected ", STALLED_CPU.begins)
