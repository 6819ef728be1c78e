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
"""Parameters that may leave the host: the checks need them, or they explain a verdict."""
_PUBLIC_WORDS = frozenset(
    {
        "on", "off", "yes", "no", "y", "n", "Y", "N", "true", "false", "enable", "disable", "auto", "force",
        "panic", "integrity", "confidentiality", "none", "nested", "nvhe", "protected", "domain",
        "managed_irq", "nohz", "high", "low", "ratelimit", "rsdt", "noirq", "strict", "copy_dsdt", "pl011",
        "uart8250", "mmio", "mmio32",
    }
)  # fmt: skip
"""Words in the values of these parameters that may leave the host."""
_PUBLIC_NUMBER = re.compile(r"0x[0-9a-f]{1,12}|\d{1,12}[KMGTkmgt]?|\d{1,7}n8")
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
    """Return the parameters of the kernel that may leave the host; one with another value is `NAME=?`.

    What follows `--` is not for the kernel.
    """
    words = _PARAMETER.findall(text)
    end = words.index("--") if "--" in words else len(words)
    return " ".join(filter(None, map(_public_word, words[:end])))


def _public_word(word: str) -> str:
    """Return a word of the command line as far as it may leave the host; "" if nothing of it may."""
    name, has_value, value = _unquoted(word).partition("=")
    value = value.strip('"')
    # The kernel takes a dash for an underscore.
    if name.replace("-", "_") == PSEUDO_NMI:
        return f"{PSEUDO_NMI}={_public_bool(value)}" if has_value else PSEUDO_NMI
    if name not in PUBLIC_PARAMETERS:
        return ""
    if not has_value:
        return word if word == f'"{name}"' else name
    parts = re.split(r"[,:@+/-]", value)
    public = all(not part or part in _PUBLIC_WORDS or _PUBLIC_NUMBER.fullmatch(part) for part in parts)
    return f"{name}={value if public else '?'}"


def _public_bool(value: str) -> str:
    """Return a value that wants_pseudo_nmi() takes for the same; `?` for one that the kernel refuses."""
    if value in _PUBLIC_WORDS or value in ("0", "1"):
        return value
    given = parse_bool(value)
    if given is not None:
        return "1" if given else "0"
    return "enable" if value and value[0] in "eEdD" else "?"
