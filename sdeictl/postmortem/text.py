"""What earlier boots left, as text."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl.klog.render import ladder_line
from sdeictl.postmortem.document import BootDocument, PostmortemDocument, StuckDocument
from sdeictl.text import Line, wrapped

_HEADS = {
    True: ("EVIDENCE LOST", "bold red"),
    False: ("NOTHING LOST", "bold green"),
    None: ("UNKNOWN", "bold yellow"),
}
_YES = {True: "yes", False: "NO", None: "?"}


def render_postmortem(document: PostmortemDocument, width: int = 80) -> Iterator[Line]:
    """Yield the verdict, and then each boot, the latest first, in lines of at most `width` columns."""
    verdict = document["verdict"]
    word, style = _HEADS[verdict["evidence_lost"]]
    yield from wrapped(verdict["summary"], width, "  ", style, head=((f"{word}  ", style),))
    for boot in reversed(document["boots"]):
        yield ()
        yield from _boot(boot, width)
    if document["gaps"]:
        yield ()
    for gap in document["gaps"]:
        yield from wrapped(f"gap: {gap['source']}: {gap['detail']}", width, style="yellow")
    if document["advice"]:
        yield ()
        yield (("So that the next crash leaves more:", "bold"),)
    for sentence in document["advice"]:
        yield from wrapped(sentence, width, "  ")


def _boot(boot: BootDocument, width: int) -> Iterator[Line]:
    name = f"boot {boot['boot_id']}" if boot["boot_id"] else "a boot that the journal does not have"
    yield ((f"{boot['end'].upper():<12}", "bold"), (name, ""))
    kernel = f"Linux {boot['kernel']}" if boot["kernel"] else "unknown kernel"
    yield ((f"  {kernel}, from {boot['began_at'] or '?'} to {boot['ended_at'] or '?'}", "dim"),)
    yield from wrapped(boot["summary"], width, "  ")
    for place, cpu in enumerate(boot["stuck"]):
        if not place:
            yield (("  cpu   since       masked  path        answered  stack  in dump", "dim"),)
        yield ((_stuck(cpu), ""),)
    if boot["stop"]:
        yield (("  ", ""), *ladder_line(boot["stop"]))
    if boot["dump"]["path"]:
        yield ((f"  dump, {boot['dump']['state']}: {boot['dump']['path']}", ""),)
    for source in boot["evidence"]:
        yield ((f"  evidence: {source}", "dim"),)


def _stuck(cpu: StuckDocument) -> str:
    since = "?" if cpu["since"] is None else f"{cpu['since']:.3f} s"
    cells = (
        f"{cpu['cpu']:<5}", f"{since:<11}", f"{_YES[cpu['masked']]:<7}", f"{cpu['path']:<11}",
        f"{_YES[cpu['answered']]:<9}", f"{_YES[cpu['stack']]:<6}", _YES[cpu["registers_in_dump"]],
    )  # fmt: skip
    waits = "" if cpu["waits_for"] is None else f"  waits for CPU {cpu['waits_for']}"
    return f"  {' '.join(cells)}{waits}"
