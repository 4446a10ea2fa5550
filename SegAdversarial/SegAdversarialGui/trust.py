"""Whether a network file, which may be a program, is to be opened: asked once for each content of the file in a session.

The answer is kept in this process only: a scene or a settings file from a stranger must not be able to give it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

BUILTIN = "builtin:"
"""How the names of networks that come with the software begin."""

_MOST_FILES = 500

Stamp = tuple[tuple[str, int, int], ...]

_trusted: set[Stamp] = set()


@dataclass(frozen=True)
class NetworkFile:
    """A network file about which the user is asked.

    Attributes:
        name: what the network calls itself.
        path: the file or folder.
    """

    name: str
    path: str


def stampOf(*paths: str) -> Stamp:
    """What tells when files have changed: path, time of the last change and size, of all the files in folders too."""
    return tuple(stamp for path in paths if path for stamp in _stamps(path))


def stampOfNetwork(path: str, settings: str = "") -> Stamp:
    """The stamp of a network: of its file or folder, and of the JSON file that describes it or lies beside it.

    Args:
        path: a built-in network's name, a file or a folder.
        settings: the JSON file that describes it; empty: the one beside it.
    """
    if path.startswith(BUILTIN):
        return stampOf(settings)
    beside = [] if settings or os.path.isdir(path) else [f"{os.path.splitext(path)[0]}.json", f"{path}.json"]
    return stampOf(*dict.fromkeys([path, settings, *beside]))


def isTrusted(stamp: Stamp) -> bool:
    """Whether the user has said so in this session."""
    return stamp in _trusted


def trust(stamp: Stamp) -> None:
    """Remember that the user trusts these files as they are now, until the program ends."""
    _trusted.add(stamp)


def ensure(network: NetworkFile, stamp: Stamp, ask: Callable[[NetworkFile], bool]) -> bool:
    """Whether the user trusts these files as they are; asked unless that is known. A No is not remembered."""
    if isTrusted(stamp):
        return True
    if not ask(network):
        return False
    trust(stamp)
    return True


def forgetAll() -> None:
    """Trust nothing any more."""
    _trusted.clear()


def askTrust(network: Any) -> bool:
    """Ask the user whether to open a network file that is a program; the answer that is offered first is No.

    Args:
        network: has a `path` and a `name`, as `NetworkFile`.
    """
    question = _(
        "Do you trust the source of this network?\n\n{path}\n\nThe file is not just numbers: it is a program. Once opened, it "
        "could read, change or delete your files, or send them to somebody. Open it only if you know who made it and trust "
        "them.\n\nOpen the network {name}?"
    ).format(path=network.path, name=network.name)
    if slicer.app.testingEnabled():
        return False
    box = qt.QMessageBox(slicer.util.mainWindow())
    box.objectName = "trustQuestion"
    box.windowTitle = _("Open a program from a file?")
    box.icon = qt.QMessageBox.Warning
    box.textFormat = qt.Qt.PlainText
    box.text = question
    box.standardButtons = qt.QMessageBox.Yes | qt.QMessageBox.No
    box.setDefaultButton(qt.QMessageBox.No)
    answer = box.exec_()
    box.deleteLater()
    return answer == qt.QMessageBox.Yes


def _stamps(path: str) -> Iterator[tuple[str, int, int]]:
    files = _filesIn(path) if os.path.isdir(path) else [path]
    for file in files:
        try:
            found = os.stat(file)
        except (OSError, ValueError):
            yield file, 0, -1
        else:
            yield file, found.st_mtime_ns, found.st_size


def _filesIn(folder: str) -> list[str]:
    """The files of a folder and of the folders in it, in order. A folder with very many is no network: the first count."""
    found: list[str] = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(folders) if place == folder else []
        found += [os.path.join(place, file) for file in sorted(files)]
        if len(found) >= _MOST_FILES:
            break
    return found[:_MOST_FILES]
