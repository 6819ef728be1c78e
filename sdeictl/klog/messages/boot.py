"""Messages of a boot: the kernel, its command line, how the CPUs start, and the start of init.

arch/arm64/kernel/setup.c, smp.c and cpufeature.c, init/main.c, drivers/firmware/psci/psci.c (Linux 7.3).
"""

from __future__ import annotations

from sdeictl.klog.messages.message import Message

BOOTING = "Booting Linux on physical CPU "
RELEASE = r"[\w.+~:-]{1,64}"
"""A pattern: the release of a kernel."""
FEATURE = "CPU features: detected: "

BOOT_CPU = Message(BOOTING, BOOTING + r"0x([0-9a-f]{10}) \[0x([0-9a-f]{8})\]")
"""The first line of a boot. Groups: MPIDR_EL1 and MIDR_EL1 of the boot CPU, hexadecimal."""
SECONDARY_CPU = Message("CPU", r"CPU\d+: Booted secondary processor 0x([0-9a-f]{10}) \[0x([0-9a-f]{8})\]")
"""Groups: MPIDR_EL1 and MIDR_EL1 of another CPU, hexadecimal."""
CPUS_ONLINE = Message("smp: Brought up ", r"smp: Brought up \d{1,4} nodes?, (\d{1,5}) CPUs?$")
"""Group: how many CPUs were online after the boot."""
MODEL = Message("Machine model: ", r"Machine model: (.{1,200})")
"""Group: the model in the device tree."""
DMI_MODEL = Message("DMI: ", r"DMI: (.{1,200}), BIOS \S")
"""Group: vendor and name of the machine."""
DMI_FIRMWARE = Message("DMI: ", r"DMI: .{1,200}, BIOS (\S.{0,100})")
"""Group: version and date of the firmware."""
VERSION = Message("Linux version ", rf"Linux version ({RELEASE})(?!\S)")
"""Group: the release of the kernel."""
COMMAND_LINE = Message("Kernel command line: ", r"Kernel command line: (.*)")
"""Group: the command line."""
EXCEPTION_LEVEL = Message("CPU: All", r"CPU: All CPU\(s\) started at EL([12])")
"""Group: the exception level at which the boot loader started the CPUs."""
VHE = Message(FEATURE, FEATURE + "Virtualization Host Extensions")
INIT = Message("Run ", r"Run \S+ as init process")
"""The kernel starts init; all initcalls have run."""
