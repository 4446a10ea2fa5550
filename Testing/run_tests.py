"""Set everything up and run the checks and tests: `python Testing/run_tests.py [--slow] [pytest arguments]`.

Makes `.venv` in the project's folder and installs the package with its test tools into it; then ruff, mypy and pytest. With
--slow the tests that take minutes run too.
"""

from __future__ import annotations

import os
import sys

from environment import ROOT, python_with
from processes import run, stopped_in_one_line


def main(arguments: list[str]) -> int:
    """Run the three tools one after the other; the first that fails ends the run with its exit status."""
    python = str(python_with("headless,test"))
    slow = ["-m", "slow or not slow"] if "--slow" in arguments else []
    passed_on = [x for x in arguments if x != "--slow"]
    # two workers of one thread each: on two cores, threads of several workers would only be in each other's way
    # each file as a whole, because what it sets up (a window, a worker, an attack) takes longer than its tests
    # a worker that dies ends the run, which otherwise may wait for it for ever
    spread = ["-n", "2", "--dist", "loadfile", "--max-worker-restart", "0"]
    if any(x.startswith("-n") for x in passed_on):
        spread = []
    # Qt sets the process's locale from the environment; where that names none, files of packages that are imported after it,
    # such as torch's compiler, would be read as ASCII
    environment = {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "1", **os.environ}
    for command in (["ruff", "check", "."], ["mypy"], ["pytest", "-q", *spread, *slow, *passed_on]):
        print("Running:", *command, flush=True)
        status = run([python, "-m", *command], cwd=ROOT, env=environment)
        if status:
            return status
    return 0


if __name__ == "__main__":
    with stopped_in_one_line():
        status = main(sys.argv[1:])
    sys.exit(status)
