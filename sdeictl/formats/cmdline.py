"""The kernel command line: lib/cmdline.c, kernel/params.c, lib/kstrtox.c (Linux 7.3). No I/O."""

from __future__ import annotations

import re

PSEUDO_NMI = "irqchip.gicv3_pseudo_nmi"
FEAT_NMI = "arm64.nmi"
"""Of kernels with patches for FEAT_NMI."""

PUBLIC_PARAMETERS = frozenset(
    {
        PSEUDO_NMI, FEAT_NMI,
        "acpi", "crash_kexec_post_notifiers", "crashkernel", "cpuidle.off", "earlycon", "ghes.disable",
        "hest_disable", "isolcpus", "kvm-arm.mode", "lockdown", "loglevel", "maxcpus", "nmi_watchdog",
        "nohz_full", "nosoftlockup", "nowatchdog", "nr_cpus", "panic", "printk.devkmsg", "quiet",
        "softlockup_panic", "sysrq_always_enabled", "watchdog_thresh",
    }
)  # fmt: skip
"""Parameters that may leave the host: the checks need them, and none of them can hold a secret."""
_PARAMETER = re.compile(r'(?:[^\s"]|"[^"]*"?)+')


def parse_parameters(text: str) -> tuple[tuple[str, str | None], ...]:
    """Return (name, value) of each parameter in order, up to `--` as in the kernel; None without `=`."""
    parameters = []
    for word in _PARAMETER.findall(text):
        if word == "--":
            break
        name, separator, value = _unquoted(word).partition("=")
        parameters.append((name, value.strip('"') if separator else None))
    return tuple(parameters)


def split_words(text: str) -> list[str]:
    """Return the words of the command line; blanks between quotes are part of a word."""
    return _PARAMETER.findall(text)


def _unquoted(word: str) -> str:
    """Return a word without quotes around the whole of it (next_arg() in lib/cmdline.c)."""
    return word[1:].removesuffix('"') if word.startswith('"') else word


def parse_bool(value: str | None) -> bool | None:
    """Return the value that kstrtobool() reads; None if it refuses the text."""
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
    """Tell whether the command line turns pseudo-NMI on. The default is off; the last valid value counts.

    Returns None if only some kernels accept the last value in kstrtobool(): `enable` or `disable`.
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
    """Return the command line with only the parameters that may leave the host."""
    return " ".join(
        word for word in _PARAMETER.findall(text) if _unquoted(word).partition("=")[0] in PUBLIC_PARAMETERS
    )
