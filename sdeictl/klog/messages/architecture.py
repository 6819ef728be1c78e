"""Messages that only one architecture prints: the registers of each, and lines of its boot.

arch/*/kernel/process.c, traps.c and setup.c (Linux 4.19 to 7.3).
"""

from __future__ import annotations

import re

_EVIDENCE = (
    ("arm64", r"pstate: [0-9a-f]{8}|pc : \[<[0-9a-f]{16}>\].* pstate: |GICv3: |sdei(?:_nmi)?: "
              r"|SMP: .* SDEI NMI |Booting Linux on physical CPU 0x[0-9a-f]{10} "
              r"|CPU: All CPU\(s\) started at EL"),
    ("x86", r"RIP: 00[0-9a-f]{2}:|RSP: 00[0-9a-f]{2}:|EIP: |x86/|DMI: .*\bx86"),
    ("riscv", r"epc : |riscv: |SBI "),
    ("powerpc", r"NIP:? +\[?[0-9a-f]{8}|NIP \["),
    ("arm", r"Booting Linux on physical CPU 0x[0-9a-f]{1,4}$|pc : \[<[0-9a-f]{8}>\]"),
)  # fmt: skip
BEGINNINGS = (
    "pstate", "pc :", "GICv3", "sdei", "SMP:", "Booting Linux", "CPU:", "RIP:", "RSP:", "EIP:", "x86/",
    "DMI:", "epc", "riscv", "SBI", "NIP",
)  # fmt: skip
"""How these lines begin."""
_ANY = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in _EVIDENCE), re.ASCII)
_RELEASES = (
    ("arm64", ("aarch64", "arm64")), ("x86", ("x86_64", "amd64", "i686")), ("riscv", ("riscv64",)),
    ("powerpc", ("ppc64",)), ("arm", ("armv7", "armhf", "armmp")),
)  # fmt: skip
RELEASE_LINE = "Linux version "
COMPILER = re.compile(
    r"\((riscv64|x86_64|i686|aarch64|powerpc64(?:le)?|arm)-[\w.-]{1,60}?-(?:gcc|clang|g\+\+)"
)
"""The compiler in the line "Linux version". Group: what it builds for."""
_COMPILERS = {"aarch64": "arm64", "x86_64": "x86", "i686": "x86", "riscv64": "riscv", "arm": "arm"}
TAINT = re.compile(
    r".* (?P<tainted>Not tainted|Tainted: [A-Z ]{1,60}?) {1,30}(?P<release>\d+\.\d+\S*)", re.ASCII
)
"""In the line of a dump that names the CPU and, before it, the task: its name may look like this.

Groups: whether the kernel is tainted, and its release.
"""


def architecture_of_line(text: str) -> str | None:
    """Return the architecture that prints such a line; None if several do."""
    match = _ANY.match(text)
    return match.lastgroup if match else None


def architecture_of_release(release: str) -> str | None:
    """Return the architecture that the release of a kernel names; None if it names none."""
    return next((name for name, marks in _RELEASES if any(mark in release for mark in marks)), None)


def architecture_of_compiler(text: str) -> str | None:
    """Return the architecture that the compiler in the line "Linux version" builds for; None if unnamed."""
    match = COMPILER.search(text)
    return _COMPILERS.get(match[1], "powerpc") if match else None


def release_of_line(text: str) -> str | None:
    """Return the release of the kernel from a line such as "CPU: 1 PID: 9 Comm: sh Not tainted 6.1.0 #1"."""
    match = TAINT.match(text)
    return match["release"] if match else None
