"""The pages of docs/ say what the code says; --update-goldens writes them."""

from __future__ import annotations

from sdeictl.probe.checks.check import Check
from sdeictl.probe.checks.table import CHAIN, CHECKS
from tests.conftest import HOST_NAMES, NMI_PATHS, PROJECT, Golden
from tests.lab.machines import MACHINES
from tests.tools import kernels_page, truth_table

OWNERS = {
    "firmware": "the firmware vendor",
    "kernel": "who builds the kernel",
    "admin": "the administrator",
}
INTRODUCTION = """\
# The checks

This page is generated from the table in `sdeictl/probe/checks/`; `sdeictl explain ID` prints the same text.
A check passes, fails, is unknown (no source that could answer was read) or does not apply. The verdict
depends only on the links of the two paths. One path is enough: where it serves, the links of the other do
not apply.
"""


def section(check: Check) -> str:
    """Return one check as Markdown."""
    return (
        f"### {check.id}\n\n{check.title}.\n\n"
        f"- Why: {check.why}\n- Wanted: {check.wanted}\n- Remedy: {check.remedy}\n"
        f"- By: {OWNERS[check.owner]}\n"
    )


def checks_page() -> str:
    groups = {
        "The SDEI path": [check for check in CHAIN if check.path == "sdei"],
        "The pseudo-NMI path": [check for check in CHAIN if check.path == "pseudo-nmi"],
        "Around them": [check for check in CHECKS if not check.path],
    }
    parts = [INTRODUCTION]
    for title, checks in groups.items():
        parts += [f"## {title}\n", *map(section, checks)]
    return "\n".join(parts)


def test_the_page_of_the_checks(golden: Golden) -> None:
    page = checks_page()
    assert page.count("\n### ") == len(CHECKS)
    golden.check(str(PROJECT / "docs/checks.md"), page)


def test_predicted_is_observed_on_every_host(golden: Golden) -> None:
    rows = [truth_table.row_of(name) for name in HOST_NAMES]
    assert {row.name: row.probe for row in rows} == {name: NMI_PATHS[name] for name in HOST_NAMES}
    assert {row.name for row in rows} == {name for name, machine in MACHINES.items() if machine.cpus > 1}
    assert [row.name for row in rows if not row.agrees()] == []
    assert len(rows) >= 30
    golden.check(str(truth_table.PAGE), truth_table.render(rows))


def test_messages_seen_on_booted_kernels(golden: Golden) -> None:
    golden.check(str(kernels_page.PAGE), kernels_page.page())
    seen = {row.name: row.seen for row in kernels_page.rows(kernels_page.lines_by_series())}
    assert all("7.3" in seen[name] for name in ("request: request", "sdei: nmi", "stop: panic"))
    assert "6.1" in seen["backtrace: show cpu"]
    assert "7.3" not in seen["backtrace: show cpu"]


def test_wrong_prediction_is_seen() -> None:
    row = truth_table.row_of("dt-sdei")
    assert row.agrees()
    for wrong in ("none, no answer", "sdei, no answer", "pseudo-nmi, answered", "sdei, unknown"):
        assert not row._replace(bpf=wrong).agrees()
    nothing = truth_table.NOT_THERE
    assert not row._replace(bpf=nothing, test_lockup=nothing, lkdtm=nothing).agrees()
