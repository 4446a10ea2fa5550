"""Set everything up and run the checks and tests: `python Testing/run_tests.py [--slow] [pytest arguments]`.

Makes `.venv` in the project's folder and installs the package with its test tools into it; then ruff, mypy and pytest. With
--slow the tests that take minutes run too.
"""

from __future__ import annotations

import os
import subprocess
import sys

from environment import ROOT, python_with


def main(arguments: list[str]) -> int:
    """Run the three tools one after the other; the first that fails ends the run with its exit status."""
    python = str(python_with("headless,test"))
    slow = ["-m", "slow or not slow"] if "--slow" in arguments else []
    passed_on = [x for x in arguments if x != "--slow"]
    # two workers of one thread each: on two cores, threads of several workers would only be in each other's way
    # each file as a whole, because what it sets up (a window, a worker, an attack) takes longer than its tests
    spread = (
        [] if any(x.startswith("-n") for x in passed_on) else ["-n", "2", "--dist", "loadfile", "--max-worker-restart", "0"]
    )
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    for command in (["ruff", "check", "."], ["mypy"], ["pytest", "-q", *spread, *slow, *passed_on]):
        print("Running:", *command, flush=True)
        status = subprocess.run([python, "-m", *command], cwd=ROOT, env=environment).returncode
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
