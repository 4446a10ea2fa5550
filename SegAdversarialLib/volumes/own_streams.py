"""The standard streams of a process that talks with another one in lines of JSON."""

from __future__ import annotations

import os
import sys
from typing import BinaryIO, TextIO


def take_over_streams() -> tuple[BinaryIO, TextIO]:
    """Standard input and output for the protocol alone; everybody else reads nothing and writes to standard error.

    The file descriptors themselves are replaced: networks and libraries in C++ print past Python. On Windows, an import
    would also hang where another thread waits for standard input.

    Returns:
        Where what is asked comes from, and where what is told goes to.
    """
    requests = os.fdopen(os.dup(0), "rb")
    events = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdin, sys.stdout = open(0, encoding="utf-8", closefd=False), sys.stderr  # noqa: SIM115
    return requests, events
