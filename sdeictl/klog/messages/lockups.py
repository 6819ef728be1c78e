"""Messages of the lockup detectors and of the hung-task detector.

kernel/watchdog.c, kernel/watchdog_perf.c, kernel/hung_task.c (Linux 7.3).
"""

from __future__ import annotations

from sdeictl.klog.messages.message import Message

HARD_LOCKUP_ON = "Watchdog detected hard LOCKUP on cpu "
WATCHDOGS = ("watchdog: ", "NMI watchdog: ")
ENABLED = "Enabled"
"""In a line of DETECTOR: the perf hard-lockup detector has started."""

# The kernel version decides which prefix these lines have, so each message exists with both.
HARD_LOCKUP = tuple(
    Message(prefix, prefix + rf"CPU(\d{{1,5}}): {HARD_LOCKUP_ON}(\d{{1,5}})$") for prefix in WATCHDOGS
)
"""Groups: the CPU that detected the lockup, and the CPU that is stuck."""
SOFT_LOCKUP = tuple(
    Message(prefix, prefix + r"BUG: soft lockup - CPU#(\d{1,5}) stuck for (\d{1,9})s! \[(.*)\]$")
    for prefix in WATCHDOGS
)
"""Groups: the CPU, the seconds, and the task with its pid."""
DETECTOR = tuple(
    Message(
        prefix,
        rf"({prefix}(?:{ENABLED}\. Permanently consumes .*|NMI not fully supported"
        r"|(?:Hard|Perf NMI) watchdog permanently disabled|Delayed init of .*))",
    )
    for prefix in WATCHDOGS
)
"""The perf hard-lockup detector started or was disabled. Group: the whole line."""
HUNG_TASK = Message(
    "INFO: task ",
    r"INFO: task (.{1,64}):(\d{1,10}) blocked(?: in I/O wait)? for more than (\d{1,9}) seconds\.",
)
"""Groups: the task, its pid, and the seconds."""

PUBLIC = (r"(?:NMI )?watchdog: ", HUNG_TASK.begins)
TASK_NAMES = (r"(?<=INFO: task ).{1,64}(?=:\d{1,10} blocked)", r"(?<=s! \[).{1,64}(?=:\d{1,10}\]$)")
"""Patterns of the task names in these lines; a capture leaves them out."""
