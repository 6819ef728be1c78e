"""The kernel command line: kernel/params.c, lib/kstrtox.c (Linux 7.3). No I/O."""

import re

PSEUDO_NMI = "irqchip.gicv3_pseudo_nmi"

# Parameters that may leave the host: what the checks ask about, without secrets by nature.
PUBLIC_PARAMETERS = frozenset(
    {
        PSEUDO_NMI,
        "acpi", "crash_kexec_post_notifiers", "crashkernel", "cpuidle.off", "earlycon", "ghes.disable",
        "hest_disable", "isolcpus", "kvm-arm.mode", "lockdown", "loglevel", "maxcpus", "nmi_watchdog",
        "nohz_full", "nosoftlockup", "nowatchdog", "nr_cpus", "panic", "printk.devkmsg", "quiet",
        "softlockup_panic", "sysrq_always_enabled", "watchdog_thresh",
    }
)  # fmt: skip
_PARAMETER = re.compile(r'(?:[^\s"]|"[^"]*"?)+')


def parse_parameters(text: str) -> tuple[tuple[str, str | None], ...]:
    """Return (name, value) in order, value None without `=`; stops at `--` like the kernel."""
    parameters = []
    for word in _PARAMETER.findall(text):
        if word == "--":
            break
        name, separator, value = _unquoted(word).partition("=")
        parameters.append((name, value.strip('"') if separator else None))
    return tuple(parameters)


def _unquoted(word: str) -> str:
    """Return a word without the quotes around it as a whole (next_arg() in lib/cmdline.c)."""
    return word[1:].removesuffix('"') if word.startswith('"') else word


def parse_bool(value: str | None) -> bool | None:
    """Return what kstrtobool() makes of a value; None where it refuses."""
    if not value:
        return None
    first = value[0].lower()
    if first in "yt1":
        return True
    if first in "nf0":
        return False
    if first == "o" and len(value) > 1:
        return {"n": True, "f": False}.get(value[1].lower())
    return None


def wants_pseudo_nmi(text: str) -> bool | None:
    """Tell whether the command line asks for pseudo-NMI: off by default, the last valid value counts.

    None: the last value is one that kstrtobool() takes in some kernels only (`enable`, `disable`).
    """
    wanted: bool | None = False
    for name, value in parse_parameters(text):
        if name.replace("-", "_") == PSEUDO_NMI:
            given = parse_bool(value)
            if given is not None:
                wanted = given
            elif value and value[0] in "eEdD":
                wanted = None
    return wanted


def public_part(text: str) -> str:
    """Return the command line reduced to the parameters that may leave the host."""
    return " ".join(
        word for word in _PARAMETER.findall(text) if _unquoted(word).partition("=")[0] in PUBLIC_PARAMETERS
    )
