"""Messages of the RCU stall detector: kernel/rcu/tree_stall.h and tree_exp.h (Linux 4.19 to 7.3)."""

from __future__ import annotations

import re

from sdeictl.klog.messages.message import Message

RCU = "rcu: "

STALL = tuple(
    Message(
        begins,
        begins + r"(\w+) (detected (?:expedited )?stalls|self-detected stall)"
        r"(?: on (?:CPUs?(?:/tasks)?|tasks):?(?: \{(?P<members>[^{}]{0,20000})\})?|, but suppressed )",
    )
    for begins in (f"{RCU}INFO: ", "INFO: ")
)
"""Groups: the flavor of RCU, how the stall was detected, and in some forms the CPUs and tasks in braces."""
# The tab becomes blanks in some logs, and kernels before 4.20 or so print no "rcu: ".
STALLED_CPU = re.compile(r"(?:rcu:)?\s{0,16}(\d{1,5})-[.O?!][.o?!][.?!\w]{1,2}: ", re.ASCII)
"""Group: a CPU that stalls RCU; only after a line of STALL."""
BLOCKED_TASKS = re.compile(
    r"(?:rcu:)?\s{0,16}Tasks blocked on level-\d+ rcu_node \(CPUs [\d-]+\):(.*)", re.ASCII
)
"""Group: the tasks that stall RCU; only after a line of STALL."""
TASK = re.compile(r"\bP(\d{1,10})\b", re.ASCII)
"""Group: the pid of a task in BLOCKED_TASKS, or in the braces of STALL."""
CPU = re.compile(r"(?<!\S)(\d{1,5})(?:-\S{1,6})?(?!\S)", re.ASCII)
"""Group: a CPU in the braces of STALL."""

BEGINNINGS = (RCU, "Tasks blocked")
"""How lines of STALLED_CPU and BLOCKED_TASKS begin, if not with a blank or a number."""
