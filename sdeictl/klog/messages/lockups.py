"""Messages of the lockup detectors, of the hung-task detector, of CSD locks and of stuck worker pools.

kernel/watchdog.c, kernel/watchdog_perf.c, kernel/hung_task.c, kernel/smp.c, kernel/workqueue.c (Linux 4.19 to
7.3; docs/kernels.md says which kernel prints which form).
"""

from __future__ import annotations

from sdeictl.klog.messages.message import Message

HARD_LOCKUP_ON = "Watchdog detected hard LOCKUP on cpu "
WATCHDOGS = ("watchdog: ", "NMI watchdog: ")

_END = r"(?:$|(?:\x01|#001)?d?Modules linked in:)"
"""Some kernels before 4.15 or so print no line end there, and show the level of the next record."""
# The kernel version decides which prefix these lines have, so each message exists with both.
HARD_LOCKUP = (
    *(Message(prefix, prefix + rf"CPU(\d{{1,5}}): {HARD_LOCKUP_ON}(\d{{1,5}}){_END}")
      for prefix in WATCHDOGS),
    *(Message(prefix + HARD_LOCKUP_ON, prefix + rf"()?{HARD_LOCKUP_ON}(\d{{1,5}}){_END}")
      for prefix in (*WATCHDOGS, "")),
)  # fmt: skip
"""Groups: the CPU that detected the lockup, from Linux 6.14 on, and the CPU that is stuck."""
SOFT_LOCKUP = tuple(
    Message(
        prefix + "BUG: soft lockup",
        prefix + r"BUG: soft lockup - CPU#(\d{1,5}) stuck for (\d{1,9})s! \[(.*)\]$",
    )
    for prefix in (*WATCHDOGS, "")
)
"""Groups: the CPU, the seconds, and the task with its pid."""
DETECTOR_ON = tuple(
    Message(f"{prefix}Enabled. ", rf"({prefix}Enabled\. Permanently consumes(?: one hw-PMU counter\.)?)")
    for prefix in WATCHDOGS
)
"""The perf hard-lockup detector has started. Group: the whole line."""
DETECTOR_OFF = tuple(
    Message(
        prefix,
        rf"({prefix}(?:NMI not fully supported|(?:Hard|Perf NMI) watchdog permanently disabled"
        r"|Delayed init of the lockup detector failed(?:: -?\d+)?))",
    )
    for prefix in WATCHDOGS
)
"""The perf hard-lockup detector does not run. Group: the whole line."""
HUNG_TASK = Message(
    "INFO: task ",
    r"INFO: task (.{1,64}):(\d{1,10}) blocked(?: in I/O wait)? for more than (\d{1,9}) seconds\.",
)
"""Groups: the task, its pid, and the seconds."""

CSD_LOCK = tuple(
    Message(
        f"{prefix}csd: ",
        prefix
        + r"csd: (Detected|Continued) non-responsive CSD lock \(#\d+\) on CPU#(\d{1,5}), waiting \d+ ns"
        r" for CPU#(\d{1,5}) ",
    )
    for prefix in ("smp: ", "")
)
"""A CPU waits for another one to take its call. Groups: whether it is the
first line of this lock, the CPU that waits, and the other one."""
WORKQUEUE_LOCKUP = Message("BUG: workqueue lockup", r"BUG: workqueue lockup - pool cpus=([\d,-]{1,20000}) ")
"""A worker pool makes no progress. Group: the CPUs of the pool."""
