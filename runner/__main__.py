"""`python -m runner`, and the command `cellblock`: loads the command line and runs it.

That takes a moment, in which Ctrl-C ends it as it does afterwards.
"""

import signal
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Load the command line and run it."""
    try:
        from runner.cli import main as run
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    run()


if __name__ == "__main__":
    main()
