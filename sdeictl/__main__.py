"""`python -m sdeictl`."""

from __future__ import annotations

from sdeictl.cli import main

main()
