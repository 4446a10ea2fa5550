"""`python -m SegAdversarialLib`: the command line."""

import sys

from SegAdversarialLib.cli import main

if __name__ == "__main__":
    sys.exit(main())
