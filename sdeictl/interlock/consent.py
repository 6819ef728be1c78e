"""What the operator says before a drill puts a host at risk."""

from __future__ import annotations

from sdeictl.text import NamedTuple


class Consent(NamedTuple):
    """What the operator says about one drill, or about `bench ab`."""

    host_name: str | None = None
    """The name of the host that is meant."""
    way_back: str | None = None
    """How somebody resets the host if it does not come back by itself: a BMC, a switched socket."""
    plain_dump: bool = False
    """The kdump service saves the memory as it is and does not need makedumpfile."""
    accepted_load: str | None = None
    """What runs on the chosen CPU, as the plan names it."""
