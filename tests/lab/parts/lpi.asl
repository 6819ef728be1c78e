// Idle states of the CPUs in ACPI (_LPI), for the lab's UEFI machines: WFI, and a PSCI standby state with the
// architectural flags ARCH_FLAGS: 0 keeps all context. `gcc -E` puts them in, because the preprocessor of iasl
// makes an empty table of this. The machine has four CPUs, C000 to C003.
#define NO_COUNTER ResourceTemplate () { Register (SystemMemory, 0, 0, 0, 0) }
#define STATE(residency, latency, flags, address, name) Package () { residency, latency, 1, flags, 0, 0, \
    ResourceTemplate () { Register (FFixedHW, 32, 0, address, 3) }, NO_COUNTER, NO_COUNTER, name }
#define LPI(c) Scope (c) { Method (_LPI, 0, NotSerialized) { Return (\_SB.PLPI) } }
DefinitionBlock ("", "SSDT", 2, "SDEICT", "LABLPI", 1)
{
    External (\_SB.C000, DeviceObj)
    External (\_SB.C001, DeviceObj)
    External (\_SB.C002, DeviceObj)
    External (\_SB.C003, DeviceObj)
    Scope (\_SB)
    {
        // Without it the kernel ignores _LPI.
        Method (_OSC, 4, NotSerialized) { Return (Arg3) }
        Name (PLPI, Package () { 0, 0, 2, STATE (1, 1, 0, 0xFFFFFFFF, "WFI"), STATE (10, 2, ARCH_FLAGS, 0x1, "standby") })
    }
    LPI (\_SB.C000)
    LPI (\_SB.C001)
    LPI (\_SB.C002)
    LPI (\_SB.C003)
}
