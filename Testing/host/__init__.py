"""A host for the module's tests: `qt`, `ctk` and the Qt half of `slicer` over PySide6, with PythonQt's manners.

It stands on Slicer's real MRML scene and refuses what Slicer does not have. Start with `gate.py`.

    import host
    host.start()
    import ctk, qt, slicer
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from pathlib import Path
from typing import Any

from .signals import qtWarnings, refusedConnections, slotErrors

__all__ = ["grab", "processEvents", "qtWarnings", "refusedConnections", "slotErrors", "start", "stop"]

_started: list[Any] = []


def start(offscreen: bool = True) -> None:
    """Create the application and put `qt`, `ctk` and `slicer` into `sys.modules`; a second call does nothing.

    Raises ImportError if PySide6 is missing.
    """
    if _started:
        return
    if offscreen:
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    if importlib.util.find_spec("SegAdversarialLib") is None:
        sys.path.append(str(Path(__file__).resolve().parents[2]))
    from . import ctk_boxes, ctk_buttons, ctk_inputs, ctk_paths, look, modules  # noqa: F401  (these declare widgets)

    look.beforeApplication()
    sys.modules["qt"] = modules.make("qt")
    sys.modules["ctk"] = modules.make("ctk")
    if importlib.util.find_spec("host.slicer_module"):
        from . import slicer_module

        slicer_module.install()
    _started.append(look.application())


def stop() -> None:
    """Take `qt`, `ctk` and the Qt half of `slicer` away again; `start` brings them back."""
    if not _started:
        return
    processEvents()
    if "host.slicer_module" in sys.modules:
        sys.modules["host.slicer_module"].uninstall()
    for name in ("qt", "ctk"):
        sys.modules.pop(name, None)
    processEvents()
    _started.clear()


def processEvents(seconds: float = 0.0) -> None:
    """Let Qt work: what is waiting now, or everything that comes within `seconds`."""
    from PySide6 import QtCore

    end = time.monotonic() + seconds
    while True:
        QtCore.QCoreApplication.processEvents()
        QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete.value)
        if time.monotonic() >= end:
            return
        time.sleep(0.002)


def grab(widget: Any, path: str, scale: float = 1.0) -> None:
    """Save a picture of a widget as PNG."""
    from .gate import realOf

    picture = realOf(widget).grab()
    if scale != 1.0:
        picture = picture.scaledToWidth(round(picture.width() * scale))
    if not picture.save(path):
        raise OSError(f"cannot write the picture {path}")
