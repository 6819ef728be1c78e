"""Messages of the end of a boot: panic, reset, the stop ladder, the crash kernel.

arch/arm64/kernel/smp.c and machine_kexec.c, kernel/panic.c, reboot.c and crash_reserve.c,
drivers/tty/sysrq.c (Linux 7.3).
"""

from __future__ import annotations

from sdeictl.klog.messages.message import Message

REASON = tuple(
    Message(begins, begins + "(?:SysRq : )?(Resetting|Restarting system|System halted|Power down)")
    for begins in ("sysrq: ", "reboot: ")
)
"""The kernel is about to stop its CPUs. Group: what it does next."""
PANIC = Message("Kernel panic - not syncing: ", r"Kernel panic - not syncing: (.*)")
"""Group: the message of the panic."""
PANIC_REASON = (
    r"sysrq triggered crash|dumptest|Hard LOCKUP|softlockup: hung tasks|hung_task: blocked tasks|RCU Stall"
    r"|(?:NMI: )?Not continuing|Watchdog detected hard LOCKUP on cpu \d{1,5}|Asynchronous SError Interrupt"
    r"|(?:Oops(?: - (?:BRK|BTI|BUG|CFI|FPAC|GCS|KASAN|UBSAN|bad mode|[Uu]ndefined instruction))?: "
    r"|BRK handler: |Undefined instruction: |synchronous external abort: )?"
    r"Fatal exception(?: in interrupt)?"
    r"|Attempted to kill (?:init!(?: exitcode=0x[0-9a-f]{8})?|the idle task!)"
    r"|Aiee, killing interrupt handler!"
    r"|stack-protector: Kernel stack is corrupted|corrupted stack end detected inside scheduler"
    r"|kernel stack overflow|(?:kernel: )?panic_on_warn set|System is deadlocked on memory"
    r"|Out of memory: (?:system-wide|compulsory) panic_on_oom is enabled|Fatal hardware error!"
    r"|VFS: Unable to mount root fs|No (?:working )?init found|Requested init|Machine restart"
    r"|GHES: Fatal firmware error|Unhandled exception|bad mode|AGDI"
)
"""A pattern: reasons that the kernel itself has for a panic. A driver can name any other."""
OOPS = "Internal error: "
"""How the first line of an oops begins."""
AFTER_OOPS = "Fatal exception"
"""In the message of a panic that an oops caused."""
RETRY = "SMP: retry stop"
"""How the line of a rung behind the plain IPI begins."""
LADDER = Message(
    "SMP: ",
    r"SMP: (?:(?P<ipi>stopping secondary CPUs)|retry stop with NMI for CPUs (?P<nmi>[\d,-]+)"
    r"|retry stop with SDEI NMI for CPUs (?P<sdei>[\d,-]+)"
    r"|failed to stop secondary CPUs(?P<failed>(?: [\d,-]+)?))$",
)
"""A rung of smp_send_stop(), or the CPUs that no rung stopped. The name of the group says which. Kernels
before 4.13 do not list the CPUs."""
CRASH_KERNEL = Message("Starting crashdump", r"Starting crashdump kernel\.\.\.")
"""The kernel starts the crash kernel after a panic."""
STALE_CPUS = Message("Some CPUs may be stale", r"Some CPUs may be stale, kdump will be unreliable\.")
"""Some CPUs may still run while the crash kernel starts."""
BYE = Message("Bye!", r"Bye!$")
"""The last line of a kernel that starts another one by kexec."""
