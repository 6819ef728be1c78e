"""The program `sdeictl`, also as `python -m sdeictl`."""

from __future__ import annotations

import gc

# A command ends before it has made enough garbage for a collection to be worth its time; its imports too.
gc.disable()

from sdeictl.cli import main  # noqa: E402 - see above

if __name__ == "__main__":
    main()
