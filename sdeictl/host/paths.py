"""Every path of a host that sdeictl reads or writes. Each stands here once, as it is on the host."""

# /dev
from __future__ import annotations

KMSG = "/dev/kmsg"
CPU_LATENCY = "/dev/cpu_dma_latency"
TERMINALS = "/dev/"

# /proc
PROC = "/proc"
CMDLINE = "/proc/cmdline"
CONFIG_GZ = "/proc/config.gz"
CONSOLES = "/proc/consoles"
CPUINFO = "/proc/cpuinfo"
INTERRUPTS = "/proc/interrupts"
KALLSYMS = "/proc/kallsyms"
KCORE = "/proc/kcore"
OWN_STAT = "/proc/self/stat"
IRQS = "/proc/irq"
OWN_MOUNTS = "/proc/self/mountinfo"
OWN_STATUS = "/proc/self/status"
SYSRQ_TRIGGER = "/proc/sysrq-trigger"
VERSION = "/proc/version"

# /proc/sys
BPF_JIT = "/proc/sys/net/core/bpf_jit_enable"
SYSCTLS = "/proc/sys/kernel"
BOOT_ID = f"{SYSCTLS}/random/boot_id"
CONSOLE_LEVEL = f"{SYSCTLS}/printk"
HARDLOCKUP_PANIC = f"{SYSCTLS}/hardlockup_panic"
KEXEC_DISABLED = f"{SYSCTLS}/kexec_load_disabled"
MODULES_DISABLED = f"{SYSCTLS}/modules_disabled"
NMI_WATCHDOG = f"{SYSCTLS}/nmi_watchdog"
PANIC_SECONDS = f"{SYSCTLS}/panic"
SYSRQ = f"{SYSCTLS}/sysrq"
TAINTED = f"{SYSCTLS}/tainted"
WORKQUEUE_STALL = "/sys/module/workqueue/parameters/panic_on_stall"
WATCHDOG_CPUMASK = f"{SYSCTLS}/watchdog_cpumask"
WATCHDOG_THRESH = f"{SYSCTLS}/watchdog_thresh"

# /sys/kernel
COUNTERS = "/sys/kernel"
HARDLOCKUP_COUNT = f"{COUNTERS}/hardlockup_count"
KEXEC_CRASH_LOADED = f"{COUNTERS}/kexec_crash_loaded"
KEXEC_CRASH_SIZE = f"{COUNTERS}/kexec_crash_size"
DEBUGFS = "/sys/kernel/debug"
LKDTM_DIRECT = f"{DEBUGFS}/provoke-crash/DIRECT"
LOCKDOWN = "/sys/kernel/security/lockdown"
NOTIFIER_RUN = "/sys/kernel/tracing/events/notifier/notifier_run"
"""The tracepoint at each call of a notifier; kernels from 6.5 on have it."""

# /sys/module
CPUIDLE_OFF = "/sys/module/cpuidle/parameters/off"
MODULE_COMPRESSION = "/sys/module/compression"
MODULE_SIG_ENFORCE = "/sys/module/module/parameters/sig_enforce"
POST_NOTIFIERS = "/sys/module/kernel/parameters/crash_kexec_post_notifiers"
PSTORE_BACKEND = "/sys/module/pstore/parameters/backend"
RAMOOPS_CONSOLE = "/sys/module/ramoops/parameters/console_size"
RCU = "/sys/module/rcupdate/parameters"
RCU_STALL_SUPPRESS = f"{RCU}/rcu_cpu_stall_suppress"
RCU_STALL_TIMEOUT = f"{RCU}/rcu_cpu_stall_timeout"

# The rest of /sys
ACPI_TABLES = "/sys/firmware/acpi/tables"
CLOCKSOURCE = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
CPU_DEVICES = "/sys/devices/system/cpu"
CPUS_ONLINE = f"{CPU_DEVICES}/online"
HOTPLUG_STATES = f"{CPU_DEVICES}/hotplug/states"
VULNERABILITIES = f"{CPU_DEVICES}/vulnerabilities"
DEVICE_TREE = "/sys/firmware/devicetree/base"
DMI = "/sys/class/dmi/id"
EFI = "/sys/firmware/efi"
HYPERVISOR = "/sys/hypervisor/type"
PLATFORM_BUS = "/sys/bus/platform"
SOC_DEVICES = "/sys/bus/soc/devices"
BLOCK_DEVICES = "/sys/dev/block"
CGROUPS = "/sys/fs/cgroup"
WATCHDOGS = "/sys/class/watchdog"
MISC_WATCHDOG = "/sys/class/misc/watchdog"
WATCHDOG_DEVICES = "/dev/watchdog"
"""How the names of their devices begin."""
IPMI_WATCHDOG = "/sys/module/ipmi_watchdog/parameters"
IPMI_WATCHDOG_FILES = tuple(f"{IPMI_WATCHDOG}/{name}" for name in ("action", "nowayout", "timeout"))
UTMP = "/run/utmp"
CONTAINER_MARKS = ("/run/.containerenv", "/.dockerenv", "/run/systemd/container")
"""Files that podman, docker and systemd leave in a container."""
SYSTEMD_RUNS = "/run/systemd/system"
"""It exists if systemd is PID 1 (sd_booted(3))."""

# What distributions install and write
BOOT_DIRECTORY = "/boot"
MODULES = "/lib/modules"
USER_PROGRAMS = "/usr/bin"
PROGRAMS = (USER_PROGRAMS, "/usr/sbin", "/bin", "/sbin")
"""Where a program is looked for: the caller's own search path may lead anywhere."""
MAKEDUMPFILE = ("/usr/sbin/makedumpfile", "/usr/bin/makedumpfile", "/sbin/makedumpfile")
PSTORE = ("/sys/fs/pstore", "/var/lib/systemd/pstore")
"""systemd-pstore.service moves what it finds in the first into the second at each boot."""
CRASH_DUMPS = ("/var/crash", "/var/lib/kdump", "/var/lib/systemd/coredump")

# sdeictl's own
INSTALLED_SDEICTL = f"{USER_PROGRAMS}/sdeictl"
AGENT_CONFIG = "/etc/sdeictl/config.toml"
RUN_DIRECTORY = "/run/sdeictl"
"""It belongs to root: the lock of the drills and the files of the collector."""
WATCH_DIRECTORY = "/run/sdeictl-watch"
"""It belongs to the user of the watcher."""
REPORT_FILE = "report.json"
POSTMORTEM_FILE = "postmortem.json"
WATCH_FILE = "watch.json"
STATE_DIRECTORY = "/var/lib/sdeictl"
DRILL_RESULTS = f"{STATE_DIRECTORY}/drills"
DRILL_JOURNAL = "journal.json"
BENCH_RESULTS = f"{STATE_DIRECTORY}/bench"
EXPERIMENT_JOURNAL = f"{BENCH_RESULTS}/ab.journal"
"""`bench ab` keeps it while it goes through its boots."""

# in a captured tree
CAPTURED_LOGS = ("/kmsg.txt", "/dmesg.txt")
"""The records of /dev/kmsg, or the text of dmesg(1)."""


def config_files(release: str) -> tuple[str, str]:
    """Return where distributions install the configuration of a kernel release."""
    return f"{BOOT_DIRECTORY}/config-{release}", f"{MODULES}/{release}/config"


def cpu_device(cpu: int, name: str) -> str:
    """Return a file or directory of one CPU, such as `cpufreq/scaling_governor`."""
    return f"{CPU_DEVICES}/cpu{cpu}/{name}"
