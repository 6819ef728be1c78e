"""A recorded host of which the exporter has every source: a report, counts, a drill and a benchmark run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.conftest import TESTS, validate
from tests.support.drillable_host import make_drillable

DRILL = TESTS / "hosts/acpi-idle/drills/bpf.json"
BEFORE = (("sdeictl-agent-collect",), ("sdeictl-agent-watch",), ("sdeictl", "bench", "run"))
"""The programs that write the other sources."""


def make_exported(place: Path) -> Path:
    """Return PLACE/host, a drillable tree with a stored drill; BEFORE writes the rest."""
    tree = make_drillable(place)
    result = json.loads(DRILL.read_bytes())
    validate("drill-1", result)
    drills = tree / "var/lib/sdeictl/drills"
    drills.mkdir(parents=True)
    shutil.copy(DRILL, drills / f"{result['id']}.json")
    return tree
