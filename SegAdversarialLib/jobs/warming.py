"""Importing what networks need before anybody asks for one, so that the first answer does not wait for it.

What a synthetic subject needs comes first, and while it comes, nothing else goes on; it takes about a second. The rest, which
takes several, is imported by a thread beside the work. Two threads that import at once may see each other's modules half made,
so that work which imports anything waits until the module is there that is being imported, and does the rest itself.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Callable, Sequence

from SegAdversarialLib.errors import CancelCheck, check_cancel

_log = logging.getLogger(__name__)

FIRST = (
    "SegAdversarialLib.jobs.running",
    "SegAdversarialLib.phantom",
    "scipy.ndimage",
    "nibabel",
    "pydicom",
)
THEN = ("torch", "SimpleITK", "monai", "SegAdversarialLib.model.sliding_window", "skimage.metrics")

_LOOK = 0.05
"""Seconds between two looks at whether somebody cancels who waits."""


class Warming:
    """Imports modules while nothing else is to be done.

    Args:
        first: in the thread that asks for it.
        then: in a thread of its own, one after another.
    """

    def __init__(self, first: Sequence[str] = FIRST, then: Sequence[str] = THEN) -> None:
        self._first, self._then = first, then
        self._thread: threading.Thread | None = None
        self._begun = False
        self._enough = threading.Event()

    def begin(self) -> None:
        """Somebody wishes it; `go_on` does it."""
        self._begun = True

    def go_on(self, is_wanted: Callable[[], bool]) -> None:
        """Import what is still missing, if it has begun.

        Args:
            is_wanted: asked before each of the first modules whether other work waits, which then comes first.
        """
        if not self._begun or self._enough.is_set():
            return
        for name in self._first:
            if is_wanted():
                return
            _import(name)
        if self._thread is None:
            self._thread = threading.Thread(target=self._import_then, daemon=True)
            self._thread.start()

    def end(self, cancel: CancelCheck | None = None) -> None:
        """Stop after the module that is being imported, and wait for it.

        Raises:
            Cancelled: `cancel` said so meanwhile.
        """
        self._enough.set()
        while self._thread is not None and self._thread.is_alive():
            check_cancel(cancel)
            self._thread.join(_LOOK)

    def _import_then(self) -> None:
        for name in self._then:
            if self._enough.is_set():
                return
            _import(name)


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except Exception as error:  # whoever needs it will say what is wrong
        _log.debug("%s cannot be imported yet (%s).", name, error)
