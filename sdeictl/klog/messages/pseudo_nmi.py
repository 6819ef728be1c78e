"""Messages about GICv3 pseudo-NMI and FEAT_NMI.

drivers/irqchip/irq-gic-v3.c, arch/arm64/kernel/cpufeature.c, drivers/perf/arm_pmu.c (Linux 7.3).
"""

from __future__ import annotations

from sdeictl.klog.messages.boot import FEATURE
from sdeictl.klog.messages.message import Message, run_of

PSEUDO_NMIS = "Pseudo-NMIs enabled"
GICV3_INTERFACE = "GICv3 CPU interface"
MASKING_FEATURES = ("IRQ priority masking", GICV3_INTERFACE, "GIC system register CPU interface")
"""CPU features that the kernel reports because of pseudo-NMI, or that pseudo-NMI needs."""

ENABLED = Message(
    f"GICv3: {PSEUDO_NMIS}",
    rf"GICv3: {PSEUDO_NMIS} using (relaxed|forced) ICC_PMR_EL1 synchronisation",
)
"""Group: how the kernel synchronises writes to the priority mask; `forced` costs more."""
# Reasons why the kernel does not enable pseudo-NMI. Group: the whole line.
BROKEN = Message("GICv3: Broken", r"(GICv3: Broken GIC integration, pNMI forbidden)")
_REASON = run_of(
    "Mediatek", "Chromebook", "GICR", "save", "problem", "GIC", "GICv3", "firmware", "broken", "missing",
    "quirk", "erratum", "errata", "the", "a", "of", "in",
)  # fmt: skip
QUIRK = Message("CPU features: Pseudo", rf"(CPU features: Pseudo-NMI disabled due to(?: {_REASON})?)")
GICV3 = Message(FEATURE, FEATURE + r"GIC(?:v3| system register) CPU interface")
GIC_SECURITY = Message("GICv3: GICD_", r"(GICv3: GICD_CT(?:LR|RL)\.DS=[01], SCR_EL3\.FIQ=[01])$")
"""The driver of a GICv3 says how firmware shares it, from Linux 6.16 on. Group: the whole line."""
FEAT_NMI = Message(FEATURE, FEATURE + r"(?:Non-maskable Interrupts|NMI)$")
"""Only kernels with patches for FEAT_NMI log this line; Linux 7.3 does not."""
