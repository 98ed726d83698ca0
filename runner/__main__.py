"""`python -m runner`: the same as the command `cellblock`."""

from runner.cli import main

main()
