"""Ctrl-C, at any moment: one line, exit status 130, and nothing half-written.

Python's own way, an exception wherever the program is, is right while work goes on: what is open is closed. It is not right
while modules are loaded: an exception in the middle of one that is written in C++ ends in "terminate called". Nor at the very
end, when libraries take themselves apart.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

STOPPED = 130
"""The exit status of a command that was stopped, as shells count: 128 and the signal's number."""

MESSAGE = "segadversarial: Stopped; what was finished before is kept."

_LOADING = "<frozen importlib._bootstrap>"


def listen() -> None:
    """From now on Ctrl-C ends this process in one line."""
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # it is to be ignored, or is somebody else's
        return
    signal.signal(signal.SIGINT, _interrupted)
    sys.unraisablehook = _lost


def end(status: int) -> NoReturn:
    """End the process; one that was stopped at once, without the libraries' own ends."""
    if status != STOPPED:
        with suppress(ValueError):  # another thread than the main one
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.exit(status)
    _flush()
    os._exit(status)


def _interrupted(signal_number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, _interrupted_again)
    if _is_loading(frame):
        end_at_once()
    raise KeyboardInterrupt


def _interrupted_again(signal_number: int, frame: FrameType | None) -> None:
    end_at_once()


def end_at_once() -> NoReturn:
    """End the process here and now, in one line."""
    files = sys.modules.get("SegAdversarialLib.volumes.files")
    if files is not None:
        files.remove_unfinished()
    _flush()
    # in a terminal there may be a bar in the line
    os.write(2, f"{chr(10) if os.isatty(2) else ''}{MESSAGE}\n".encode())
    os._exit(STOPPED)


def _is_loading(frame: FrameType | None) -> bool:
    """Whether a module is being loaded."""
    while frame is not None:
        if frame.f_code.co_filename == _LOADING:
            return True
        frame = frame.f_back
    return False


def _lost(unraisable: Any) -> None:
    """An exception that Python cannot hand on, such as one in the end of an object; Ctrl-C must not be lost there."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        end_at_once()
    sys.__unraisablehook__(unraisable)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # there is none, or nobody reads it any more
            continue
