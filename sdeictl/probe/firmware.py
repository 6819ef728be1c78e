"""Reads how the firmware describes the machine: device tree or ACPI (acpi.py), SoC, hypervisor."""

from __future__ import annotations

import re

from sdeictl.host.gap import GapKind
from sdeictl.host.paths import ACPI_TABLES, DEVICE_TREE, HYPERVISOR, SOC_DEVICES
from sdeictl.host.reader import Reader
from sdeictl.probe import names
from sdeictl.probe.facts import HostFacts, SdeiNode, SocId
from sdeictl.probe.kept import Kept

SDEI_COMPATIBLE = "arm,sdei-1.0"

# <stringlist>, Devicetree Specification 0.4, section 2.2.4
_STRING_LIST = re.compile(rb"(?:[\x20-\x7e]+\0)+")
_MAX_STRINGS_BYTES = 64 << 10
SOC_NAME = r"soc\d{1,3}"
# sys_vendor and product_name of virtual machines.
_VIRTUAL_MODELS = (
    "QEMU", "Xen", "VMware", "Parallels", "Apple Virtualization", "KubeVirt", "OpenStack",
    "Microsoft Corporation Virtual Machine",
)  # fmt: skip
_CLOUDS = ("Amazon EC2 ", "Google Google Compute Engine")
"""Clouds that rent bare metal too, under names with "metal"."""


def with_firmware(reader: Reader, facts: HostFacts, kept: Kept) -> HostFacts:
    """Return the facts with the description of the machine added. A populated ACPI directory means ACPI."""
    facts = facts._replace(soc=_read_soc(reader))
    if reader.listing(ACPI_TABLES):
        from sdeictl.probe.acpi import Tables, with_acpi  # noqa: PLC0415 - a device tree does without

        return _with_virtual(reader, _with_names_in_log(with_acpi(reader, facts, Tables(reader), kept)))
    base = reader.listing(DEVICE_TREE)
    if base and "compatible" in base and not reader.has_gap(ACPI_TABLES):
        model = _read_strings(reader, f"{DEVICE_TREE}/model")
        facts = facts._replace(
            tables="devicetree",
            sdei_nodes=_read_sdei_nodes(reader, base),
            model=model[0] if model else None,
        )
        return _with_virtual(reader, facts)
    from sdeictl.probe.acpi import dumped_tables, with_acpi  # noqa: PLC0415 - as above

    tables = dumped_tables(reader)
    if tables:
        return _with_virtual(reader, _with_names_in_log(with_acpi(reader, facts, tables, kept)))
    for source, without in ((ACPI_TABLES, "it is empty"), (DEVICE_TREE, "has no file `compatible`")):
        if not reader.has_gap(source):
            reader.gap(source, GapKind.ABSENT, f"it does not exist, or {without}")
    return _with_virtual(reader, _with_names_in_log(facts))


def _with_names_in_log(facts: HostFacts) -> HostFacts:
    """Return the facts with the model and the firmware that the boot log names, if no file does."""
    log = facts.bootlog
    if log is None:
        return facts
    return facts._replace(model=facts.model or log.model, firmware=facts.firmware or log.firmware)


def _read_sdei_nodes(reader: Reader, base: tuple[str, ...]) -> tuple[SdeiNode, ...] | None:
    if "firmware" not in base:
        return ()
    children = reader.attempt(f"{DEVICE_TREE}/firmware", reader.root.names)
    if children is None:
        return None
    nodes = []
    # Nodes of other names have no names in a capture: the known ones come first in both.
    for child in sorted(children, key=lambda name: (names.node(name) == names.OTHER, name)):
        path, shown = f"{DEVICE_TREE}/firmware/{child}", f"{DEVICE_TREE}/firmware/{names.node(child)}"
        compatible = _read_strings(reader, f"{path}/compatible", f"{shown}/compatible")
        used = SDEI_COMPATIBLE in compatible
        status = _read_strings(reader, f"{path}/status", f"{shown}/status") if used else []
        if reader.has_gap(f"{shown}/compatible") or reader.has_gap(f"{shown}/status"):
            return None
        # A node without a status is in use (Devicetree Specification 0.4, section 2.3.4).
        if used and status[:1] in ([], ["okay"], ["ok"]):
            nodes.append(_read_node(reader, path, shown))
    return tuple(nodes)


def _read_node(reader: Reader, path: str, shown: str) -> SdeiNode:
    method = _read_strings(reader, f"{path}/method", f"{shown}/method")
    return SdeiNode(shown, names.method(method[0]) if method else None, not reader.has_gap(f"{shown}/method"))


def _read_soc(reader: Reader) -> SocId | None:
    for name in [
        name for name in reader.listing(SOC_DEVICES) or () if re.fullmatch(SOC_NAME, name, re.ASCII)
    ]:
        directory = f"{SOC_DEVICES}/{name}"
        if soc_id := reader.value(f"{directory}/soc_id"):
            return SocId(soc_id, reader.value(f"{directory}/revision"), reader.value(f"{directory}/machine"))
    return None


def _with_virtual(reader: Reader, facts: HostFacts) -> HostFacts:
    return facts._replace(virtual=_find_hypervisor(reader, facts))


def _find_hypervisor(reader: Reader, facts: HostFacts) -> str | None:
    """Return the fact that shows a hypervisor; None without one, which does not prove bare metal."""
    if kind := reader.value(HYPERVISOR):
        return f"{names.hypervisor(kind)} ({HYPERVISOR})"
    model = facts.model or ""
    rented = model.startswith(_CLOUDS) and "metal" not in model
    if rented or model.startswith(_VIRTUAL_MODELS) or " KVM Virtual Machine" in model:
        return f"{model} (DMI)"
    if facts.tables == "devicetree":
        if model == "linux,dummy-virt":
            return f"{model} (device tree)"
        if compatible := _read_strings(reader, f"{DEVICE_TREE}/hypervisor/compatible"):
            return f"{names.hypervisor(compatible[0])} (device tree)"
    return None


def _read_strings(reader: Reader, path: str, source: str | None = None) -> list[str]:
    """Return a string list of the device tree; [] if it is absent; [] and a gap if it is not such a list.

    The gap names `source`, by default the path.
    """
    data = reader.optional(path, reader.root.read, source)
    if data is None:
        return []
    if not is_string_list(data):
        reader.gap(source or path, GapKind.BROKEN, "it is not a string list of the device tree")
        return []
    return data.decode("ascii").rstrip("\0").split("\0")


def is_string_list(data: bytes) -> bool:
    """Tell whether a property of the device tree is a list of printable strings."""
    return len(data) <= _MAX_STRINGS_BYTES and _STRING_LIST.fullmatch(data) is not None
