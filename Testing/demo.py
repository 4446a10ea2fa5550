"""Set everything up and run the demonstration: `python Testing/demo.py [--output DIR]`.

Makes `.venv` in the project's folder, installs the package into it, and attacks the built-in network on a synthetic subject
in every way. Whatever is given on the command line goes to `segadversarial demo`. Ctrl-C ends it at any moment; the next run
goes on with the installation.
"""

from __future__ import annotations

import sys

from environment import python_with
from processes import run, stopped_in_one_line

if __name__ == "__main__":
    with stopped_in_one_line():
        python = python_with("headless")
        print("Running: segadversarial demo", *sys.argv[1:], flush=True)
        status = run([str(python), "-m", "SegAdversarialLib", "demo", *sys.argv[1:]])
    sys.exit(status)
