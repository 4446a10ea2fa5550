"""Set everything up and run the demonstration: `python Testing/demo.py [--output DIR]`.

Makes `.venv` in the project's folder, installs the package into it, and attacks the built-in network on a synthetic subject
in every way. Whatever is given on the command line goes to `segadversarial demo`.
"""

from __future__ import annotations

import subprocess
import sys

from environment import python_with

if __name__ == "__main__":
    python = python_with("headless")
    print("Running: segadversarial demo", *sys.argv[1:], flush=True)
    sys.exit(subprocess.run([str(python), "-m", "SegAdversarialLib", "demo", *sys.argv[1:]]).returncode)
