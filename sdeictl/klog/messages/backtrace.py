"""Messages in which CPUs answer a backtrace request, or print themselves.

lib/nmi_backtrace.c, lib/dump_stack.c, arch/arm64/kernel/process.c and stacktrace.c, kernel/sched/core.c,
drivers/tty/sysrq.c (Linux 4.19 to 7.3; docs/kernels.md says which kernel prints which form).
"""

from __future__ import annotations

import re

from sdeictl.klog.messages.message import Message

HEADER = "NMI backtrace for cpu "

ANSWER = Message(HEADER, HEADER + r"(\d{1,5})$")
"""The first line of an answer with registers and stack. Group: the CPU."""
IDLE = Message(HEADER, HEADER + r"(\d{1,5}) skipped: idling at \S")
"""The answer of an idle CPU. Group: the CPU."""
SHOW_CPU = Message("sysrq: CPU", r"sysrq: CPU(\d{1,5}):(?P<idle> backtrace skipped as idling)?$")
"""Without NMIs, as on arm64 before Linux 6.7, sysrq-l makes each CPU print itself. Group: the CPU."""
TASK_DUMP = Message("Task dump for CPU ", r"Task dump for CPU (\d{1,5}):$")
"""Another CPU prints the stack of a CPU's task, without an NMI. Group: the CPU."""

CPU_LINE = re.compile(r"CPU: (\d{1,5}) (?:UID: \d+ )?PID: ", re.ASCII)
"""The second line of a block. Group: the CPU that prints the block."""
REGISTER = re.compile(r"(pstate|pc|pmr)(?:_save)?\s{0,8}:\s{0,8}(.*)")
"""Groups: a register that shows whether, or where, a CPU was masked, and its value. The priority mask is
`pmr_save` before Linux 6.13."""
MASK_FLAGS = re.compile(r"[0-9a-f]+ \([nN][zZ][cC][vV] [dD][aA]([iI])[fF] ")
"""What the kernel prints of pstate in letters behind its digits. Group: I if interrupts are masked."""
OLD_PC = re.compile(r"PC is at (.*)")
"""Before Linux 4.15 the function has a line of its own. Group: the function."""
OLD_REGISTERS = re.compile(r"pc : \[<[0-9a-f]{8,16}>\] lr : \[<[0-9a-f]{8,16}>\] pstate: ([0-9a-f]{8,16})$")
"""Before Linux 4.15 one line has the addresses and pstate. Group: pstate."""
LAST_REGISTERS = "x29: "
"""How the general registers begin. They come after the registers of REGISTER, in every block."""
FRAME = re.compile(r"(?: {1,4}|\[<[0-9a-f]{8,16}>\] )([\w.]{1,120})\+0x[0-9a-f]{1,8}/0x[0-9a-f]{1,8}(?!\S)")
"""One line of a stack; before Linux 4.15 it begins with an address. Group: the function.

A line that goes on without a blank is damaged, and may have lost the name of a module.
"""
PRIORITY_MASK = re.compile(r"pmr(?:_save)?\s{0,8}:")
"""The line of the priority mask, which the kernel prints only with pseudo-NMI."""
PLACE = re.compile(r"[\w.$]{1,200}\+0x[0-9a-f]+(?:/0x[0-9a-f]+)?|(?:0x)?[0-9a-f]{8,16}(?!\S)")
"""The value of pc: a place in a function, or an address."""

BEGINNINGS = ("CPU:", "pstate", "pc :", "pc: ", "pc\t:", "pmr", "PC is at", LAST_REGISTERS)
"""How the lines of a block begin; the lines of a stack begin with blanks."""
