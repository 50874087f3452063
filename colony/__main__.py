"""``python -m colony``: the command line."""

import sys

from colony.cli import main

if __name__ == "__main__":
    sys.exit(main())
