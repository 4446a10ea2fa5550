"""Whether a network file that is a program is to be opened: the user is asked about its bytes, known by their SHA-256.

A Yes is kept in this process, or by the library for good where the user wants it: a scene or a settings file from a stranger
must not be able to give it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from SegAdversarialGui.wrapping import breakable

BUILTIN = "builtin:"
"""How the names of networks that come with the software begin."""

NO, ONCE, ALWAYS = "", "once", "always"
"""Answers: not opened; opened until Slicer closes or the file changes; and also in every later session."""

_MOST_FILES = 500
_MOST_SHOWN = 3
_DIGITS = 16
"""Of a SHA-256, those that the question shows."""

Stamp = tuple[tuple[str, int, int], ...]

_trusted: dict[str, str] = {}
"""What was trusted in this session: names by the SHA-256 of the content."""


@dataclass(frozen=True)
class NetworkFile:
    """A network file about which the user is asked.

    Attributes:
        name: what the network calls itself.
        path: the file or folder.
        what: what it is, in words that go on from "It is".
        runs: what in it could run code, in words.
        programs: the files in which that stands.
        sums: their SHA-256, in their order; not known before the user is asked.
        scan: what a scanner says of them, without its full stop; not known before the user is asked.
    """

    name: str
    path: str
    what: str = ""
    runs: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    sums: tuple[str, ...] = ()
    scan: str = ""

    @classmethod
    def of(cls, entry: Any, path: str) -> NetworkFile:
        """The file of a network that is known (`catalog.NetworkEntry`)."""
        return cls(entry.name, path, entry.content, entry.runs, entry.programs)


def stampOf(*paths: str) -> Stamp:
    """What tells when files have changed: path, time of the last change and size, of all the files in folders too."""
    return tuple(stamp for path in paths if path for stamp in _stamps(path))


def stampOfNetwork(path: str, settings: str = "") -> Stamp:
    """The stamp of a network: of its file or folder, and of the JSON file that describes it or lies beside it.

    Args:
        path: a built-in network's name, a file or a folder, or what is named in an archive or a folder (ARCHIVE.zip/FOLDER).
        settings: the JSON file that describes it; empty: the one beside it.
    """
    if path.startswith(BUILTIN):
        return stampOf(settings)
    archive = next((str(x) for x in Path(path).parents if x.is_file()), "")
    beside = [] if settings or os.path.isdir(path) else [f"{os.path.splitext(path)[0]}.json", f"{path}.json"]
    return stampOf(*dict.fromkeys([path, archive, settings, *beside]))


def isTrusted(programs: Sequence[str]) -> bool:
    """Whether the user has said so of all these files as they are now, in this session or for good."""
    from SegAdversarialLib.formats.trust import remembers

    sums = _sumsOf(programs)
    return bool(sums) and all(x in _trusted or remembers(x) for x in sums)


def granted(programs: Sequence[str]) -> list[str]:
    """What a job is told of these files: the SHA-256 of those that are trusted in this session. What is remembered for good
    the worker knows itself, so that it also knows when that is taken back."""
    from SegAdversarialLib.formats.trust import remembers

    return [x for x in _sumsOf(programs) if x in _trusted and not remembers(x)] if _trusted else []


def ensure(network: NetworkFile, ask: Callable[[NetworkFile], Any]) -> bool:
    """Whether the user trusts these files as they are; asked unless that is known. A No is not remembered.

    What cannot be read is left to the worker to refuse.
    """
    from SegAdversarialLib.formats.verdicts import verdict

    with _waiting():
        if not (sums := _sumsOf(network.programs)) or isTrusted(network.programs):
            return True
        scan = verdict(*map(Path, network.programs))
    answer = ask(replace(network, sums=sums, scan=scan))
    if answer == ALWAYS:
        _remember(network.programs, sums, scan)
    if answer:
        _trusted.update(zip(sums, map(os.path.basename, network.programs)))
    return bool(answer)


def trustedFiles() -> list[tuple[str, str, str, str]]:
    """All that is trusted: SHA-256, name, when that was said (empty: for this session), and the scanner's word."""
    try:
        from SegAdversarialLib.formats.trust import decisions
    except ImportError:
        return []
    found = [(x.sha256, x.name, x.when, x.scan) for x in decisions()]
    known = {x[0] for x in found}
    return found + [(sha256, name, "", "") for sha256, name in _trusted.items() if sha256 not in known]


def forget(sums: Sequence[str]) -> None:
    """Trust these contents no more.

    Raises:
        InputError: what is remembered of them cannot be taken away.
    """
    from SegAdversarialLib.formats import trust

    if remembered := [x for x in sums if trust.remembers(x)]:
        trust.forget(remembered)
    for sha256 in sums:
        _trusted.pop(sha256, None)


def forgetAll() -> None:
    """Trust nothing any more of what was trusted in this session."""
    _trusted.clear()


def askTrust(network: NetworkFile) -> str:
    """Ask the user whether to open a network file that is a program; the answer that is offered first is No.

    Returns:
        NO, ONCE or ALWAYS.
    """
    if slicer.app.testingEnabled():
        return NO
    box = qt.QMessageBox(slicer.util.mainWindow())
    box.objectName = "trustQuestion"
    box.windowTitle = _("Open a program from a file?")
    box.icon = qt.QMessageBox.Warning
    box.textFormat = qt.Qt.PlainText
    box.text = _inWords(network)
    box.standardButtons = qt.QMessageBox.Yes | qt.QMessageBox.No
    box.setDefaultButton(qt.QMessageBox.No)
    remember = qt.QCheckBox(_("Remember for this file, until its content changes"))
    remember.objectName = "rememberTrustBox"
    remember.toolTip = _("Its SHA-256 is kept in your configuration folder; the file may be moved and renamed")
    box.setCheckBox(remember)
    yes = box.exec_() == qt.QMessageBox.Yes
    answer = (ALWAYS if remember.checked else ONCE) if yes else NO
    box.deleteLater()
    return answer


def _inWords(network: NetworkFile) -> str:
    """The question: which file, what in it could run, what a scanner says of it, and by what it is known."""
    parts = [
        _("Do you trust the source of the network {name}?").format(name=breakable(network.name)),
        breakable(network.path),
        _(
            "This is {what}. It is not just numbers: {runs} could read, change or delete your files, or send them to "
            "somebody. Open it only if you know who made it and trust them."
        ).format(what=_(network.what), runs=_(" and ").join(map(_, network.runs))),
        _("Scanner: {scan}. A scanner knows some dangers, not all.").format(scan=breakable(network.scan)),
        *_sumsInWords(network),
    ]
    return "\n\n".join(parts)


def _sumsInWords(network: NetworkFile) -> Iterator[str]:
    for path, sha256 in list(zip(network.programs, network.sums))[:_MOST_SHOWN]:
        name = os.path.basename(path)
        yield _("SHA-256 of {name}: {digits}...").format(name=breakable(name), digits=sha256[:_DIGITS])
    if (more := len(network.programs) - _MOST_SHOWN) > 0:
        yield _("and {n} more files").format(n=more)


def _remember(programs: Sequence[str], sums: Sequence[str], scan: str) -> None:
    """Keep that these contents are trusted; where that cannot be written, it holds for this session."""
    from SegAdversarialLib.errors import InputError
    from SegAdversarialLib.formats.trust import remember

    try:
        for path, sha256 in zip(programs, sums):
            remember(Path(path), sha256, scan)
    except (InputError, OSError) as error:
        slicer.util.errorDisplay(str(error), windowTitle=_("SegAdversarial"))


def _sumsOf(programs: Sequence[str]) -> tuple[str, ...]:
    """The SHA-256 of files, each read once until it changes; none where one cannot be read."""
    from SegAdversarialLib.errors import InputError
    from SegAdversarialLib.formats.trust import known_digest

    try:
        return tuple(known_digest(Path(x)) for x in programs)
    except InputError:
        return ()


@contextmanager
def _waiting() -> Iterator[None]:
    """Show that something takes a moment: large files are read once."""
    qt.QApplication.setOverrideCursor(qt.QCursor(qt.Qt.WaitCursor))
    try:
        yield
    finally:
        qt.QApplication.restoreOverrideCursor()


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
