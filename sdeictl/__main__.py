"""The program `sdeictl`, also as `python -m sdeictl`."""

from __future__ import annotations

import gc
import os
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line; Control-C ends it with the status of the contract from the first import on."""
    # A command ends before it has made enough garbage for a collection to be worth its time; its imports too.
    gc.disable()
    try:
        from sdeictl.cli import main as run  # noqa: PLC0415 - see above

        run()
    except KeyboardInterrupt:
        os._exit(130)  # Status.INTERRUPTED; its module may not be imported yet


if __name__ == "__main__":
    main()
