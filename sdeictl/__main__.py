"""`python -m sdeictl`."""

from sdeictl.cli import main

main()
