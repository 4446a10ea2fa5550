"""`python -m SegAdversarialLib`, and the command `segadversarial`: the command line."""

from __future__ import annotations

import os
from typing import NoReturn


def run() -> NoReturn:
    """Run one command and end the process with its exit status."""
    try:
        from SegAdversarialLib.cli import interruption

        interruption.listen()
        from SegAdversarialLib.cli import main

        status = main()
    except KeyboardInterrupt:  # before anything was begun, or after everything was done
        os.write(2, b"segadversarial: Stopped.\n")
        os._exit(130)
    interruption.end(status)


if __name__ == "__main__":
    run()
