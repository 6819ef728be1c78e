"""All checks in order: the links of the chain, then the checks around it."""

from __future__ import annotations

from sdeictl.probe.checks.crash import CRASH_CHECKS
from sdeictl.probe.checks.evidence import EVIDENCE_CHECKS
from sdeictl.probe.checks.idle import IDLE_CHECKS
from sdeictl.probe.checks.lockups import LOCKUP_CHECKS
from sdeictl.probe.checks.machine import MACHINE_CHECKS
from sdeictl.probe.checks.pseudo_nmi import PSEUDO_NMI_CHECKS
from sdeictl.probe.checks.sdei import SDEI_CHECKS

# Firmware, its tables, kernel build, boot arguments, registration: fixing the first broken link may fix
# the later ones too.
_CHAIN_ORDER = (
    "sdei-answered", "sdei-affinity", "pseudo-nmi-gic",
    "sdei-advertised", "sdei-conduit",
    "sdei-interface-built", "sdei-ghes-built", "sdei-nmi-built", "pseudo-nmi-built", "pseudo-nmi-backtrace",
    "sdei-exception-level", "pseudo-nmi-requested",
    "sdei-nmi-registered", "pseudo-nmi-enabled",
)  # fmt: skip

CHAIN = tuple(sorted((*SDEI_CHECKS, *PSEUDO_NMI_CHECKS), key=lambda check: _CHAIN_ORDER.index(check.id)))
CHECKS = (*CHAIN, *IDLE_CHECKS, *LOCKUP_CHECKS, *CRASH_CHECKS, *EVIDENCE_CHECKS, *MACHINE_CHECKS)
