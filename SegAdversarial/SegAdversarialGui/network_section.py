"""The panel's Network section: which network, what it is, whether it is trusted, and on what it runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import ctk
from slicer.i18n import tr as _

from SegAdversarialGui import trust, widgets
from SegAdversarialGui.device_row import DeviceRow
from SegAdversarialGui.published_rows import PublishedRows, title
from SegAdversarialGui.trusted_window import TrustedWindow
from SegAdversarialGui.wrapping import breakable
from SegAdversarialLib.errors import InputError

_FILE, _FOLDER = "file", "folder"
_MEGABYTE = 1 << 20


class NetworkSection:
    """Chooses the network and the device.

    Args:
        describe: `catalog.network`: what the network at (path, settings file) is; raises InputError, or ImportError where
            packages are missing.
        builtin: `catalog.builtinNetworks`.
        askTrust: `trust.askTrust`: asks the user about a `trust.NetworkFile`.
        findDevices: starts the search whose result `setDevices` gets.
        published: `published.publishedNetworks`: the networks that can be downloaded.
        fetcher: a `published.Fetcher`, which downloads them.

    Attributes:
        widget: the collapsible box.
        onNetworkChanged: called without arguments when `entry()` has become another one.
        onForgotten: called with the SHA-256 of programs that are trusted no more.
    """

    def __init__(
        self,
        describe: Callable[[str, str], Any],
        builtin: Callable[[], list[str]],
        askTrust: Callable[[Any], Any],
        findDevices: Callable[[], None],
        published: Callable[[], list[Any]] = list,
        fetcher: Any = None,
    ) -> None:
        self._describe, self._builtin, self._askTrust = describe, builtin, askTrust
        self._state: Any = None
        self._mode = self._shownPath = ""
        self._known: tuple[Any, ...] | None = None
        self._entry: Any = None
        self._problem = ""
        self._packagesMissing = self._writing = False
        self.onNetworkChanged: Callable[[], None] = lambda: None
        self.onForgotten: Callable[[Sequence[str]], None] = lambda sums: None
        self.widget, self._form = widgets.section(_("Network"), "networkSection")
        self._makeSource()
        self._makePaths()
        self.infoNote = widgets.note("networkInfoNote")
        self.problemNote = widgets.note("networkProblemNote", problem=True)
        self._form.addRow(self.infoNote)
        self._form.addRow(self.problemNote)
        self._published = PublishedRows(self._form, published, fetcher, self.refresh)
        self.trustedButton = widgets.button(
            _("Trusted files..."),
            "trustedFilesButton",
            _("The programs that open without a question, to be forgotten"),
        )
        self.trustedButton.connect("clicked(bool)", lambda _checked=False: self.trustedWindow.show())
        self._form.addRow(self.trustedButton)
        self.trustedWindow = TrustedWindow(self.widget, self._forgotten)
        self._device = DeviceRow(self._form, findDevices)
        self.refresh()

    def setScene(self, scene: Any) -> None:
        """Nothing here depends on the scene's nodes."""

    def setState(self, state: Any) -> None:
        """Show another parameter node; None: none, as while a scene is closed."""
        self._state, self._mode = state, ""
        self._device.setState(state)
        self.refresh()

    def setDevices(self, devices: Sequence[Any], advice: str = "") -> None:
        """Offer the devices that were found: `{"id": "cuda:0", "name": "...", "memory": bytes}`, and how to get more."""
        self._device.setDevices(devices, advice)

    def refresh(self) -> None:
        """Show the state. The network is described anew only if another one was chosen or its files have changed."""
        self._published.look()
        path = self._path()
        if path != self._shownPath:
            self._mode, self._shownPath = "", path
        mode = self._modeOf(path)
        widgets.fillCombo(self.sourceCombo, self._sources(path), mode)
        self.sourceCombo.toolTip = widgets.tip(f"{self.sourceCombo.currentText}\n{_sourceTip()}")
        for line, shown in ((self.fileLine, mode == _FILE), (self.folderLine, mode == _FOLDER)):
            widgets.shown(line, self._form, shown)
            if shown:
                self._write(line, path)
        widgets.shown(self.settingsLine, self._form, mode in (_FILE, _FOLDER))
        self._write(self.settingsLine, self._state.settings.networkSettings if self._state is not None else "")
        self._device.refresh()
        self._published.show(path)
        self._update()
        self._showTrusted()

    def entry(self) -> Any:
        """What the chosen network is (a `NetworkEntry`), or None where it cannot be told."""
        if self._packagesMissing:
            self._update()
        return self._entry

    def problem(self) -> str:
        """Why the network cannot be used, as a sentence; empty if it can."""
        return self._problem

    def needsTrust(self) -> bool:
        """Whether the network is a program, which must not be opened unless the user trusts its source."""
        return self._entry is not None and self._entry.needsTrust

    def trusted(self) -> bool:
        """Whether the network may be opened: it is no program, or the user trusts the file as it is now."""
        return self._entry is not None and (not self._entry.needsTrust or trust.isTrusted(self._entry.programs))

    def ensureTrust(self) -> bool:
        """Whether the network may be opened; the user is asked unless that is known. A No is not remembered."""
        if self._entry is None or not self._entry.needsTrust:
            return self._entry is not None
        trusted = trust.ensure(trust.NetworkFile.of(self._entry, self._path()), self._askTrust)
        self._showTrusted()
        return trusted

    def source(self) -> dict[str, Any]:
        """The fields of the library's `ModelSource`."""
        return {
            "path": self._path(),
            "trust": (trust.granted(self._entry.programs) if self.needsTrust() else []) or False,
            "device": self._state.settings.device if self._state is not None else "auto",
            "settings": self._settingsPath() or None,
        }

    def tabOrder(self) -> list[Any]:
        """The widgets that take the keyboard, in reading order."""
        lines = [line.comboBox() for line in (self.fileLine, self.folderLine, self.settingsLine)]
        return [self.sourceCombo, *lines, *self._published.tabOrder(), self.trustedButton, *self._device.tabOrder()]

    def cleanup(self) -> None:
        """Stop what is being downloaded."""
        self._published.cleanup()

    def _makeSource(self) -> None:
        self.sourceCombo = widgets.combo()
        widgets.row(
            self._form,
            _("Network"),
            self.sourceCombo,
            "networkSourceCombo",
            _sourceTip(),
        )
        self.sourceCombo.connect("currentIndexChanged(int)", self._onSource)

    def _makePaths(self) -> None:
        self.fileLine = widgets.networkLine()
        self.folderLine = widgets.folderLine()
        self.settingsLine = widgets.pathLine(ctk.ctkPathLineEdit.Files, [_("Settings") + " (*.json)"])
        for line, label, name, toolTip in (
            (
                self.fileLine,
                _("File"),
                "networkFileLine",
                _(
                    "A network's file: TorchScript, weights or their settings (.json), a checkpoint, or the zip archive "
                    "of a MONAI bundle or of nnU-Net; of several networks in an archive ARCHIVE.zip/FOLDER/IN/IT"
                ),
            ),
            (self.folderLine, _("Folder"), "networkFolderLine", _("A folder that holds one network")),
            (
                self.settingsLine,
                _("Settings file"),
                "networkSettingsLine",
                _(
                    "A JSON file that says which channels the network takes, which classes it gives and what is done to the "
                    "images first; leave it empty if such a file lies beside the network under the same name"
                ),
            ),
        ):
            widgets.row(self._form, label, line, name, toolTip)
        # the line's own signal leaves out what it finds unacceptable, such as an empty path
        for line in (self.fileLine, self.folderLine):
            line.comboBox().connect("editTextChanged(QString)", self._onPath)
        self.settingsLine.comboBox().connect("editTextChanged(QString)", self._onSettings)

    def _write(self, line: Any, path: str) -> None:
        if line.currentPath != path:
            self._writing = True
            line.currentPath = path
            self._writing = False

    def _path(self) -> str:
        return self._state.settings.network if self._state is not None else ""

    def _settingsPath(self) -> str:
        """Built-in and published networks have their own settings; those that are kept for a file are not meant then."""
        return "" if self._state is None or self._isNamed(self._path()) else self._state.settings.networkSettings

    def _isNamed(self, path: str) -> bool:
        return path.startswith(trust.BUILTIN) or self._published.network(path) is not None

    def _modeOf(self, path: str) -> str:
        """The source combo's entry for a path. Once chosen, file or folder stays while the path is being typed."""
        if self._isNamed(path):
            return path
        if not self._mode:
            self._mode = _FOLDER if os.path.isdir(path) else _FILE
        return self._mode

    def _sources(self, path: str) -> list[tuple[str, str]]:
        try:
            names = self._builtin()
        except ImportError:
            names = []
        if path.startswith(trust.BUILTIN) and path not in names:
            names = [path, *names]
        published = [(title(x), x.name) for x in self._published.networks]
        own = [(_("File..."), _FILE), (_("Folder..."), _FOLDER)]
        return [*((_builtinTitle(name), name) for name in names), *published, *own]

    def _onSource(self, index: int) -> None:
        if self._state is None or index < 0:
            return
        chosen = self.sourceCombo.itemData(index)
        if chosen in (_FILE, _FOLDER):
            self._setPath(chosen, (self.fileLine if chosen == _FILE else self.folderLine).currentPath)
        else:
            self._setPath("", chosen)

    def _onPath(self, path: str) -> None:
        if self._state is not None and not self._writing:
            self._setPath(self._mode, path)

    def _onSettings(self, path: str) -> None:
        if self._state is not None and not self._writing:
            self._state.change(networkSettings=path)

    def _setPath(self, mode: str, path: str) -> None:
        self._mode, self._shownPath = mode, path
        self._state.change(network=path)
        self.refresh()

    def _showTrusted(self) -> None:
        self.trustedButton.setVisible(bool(trust.trustedFiles()))

    def _forgotten(self, sums: Sequence[str]) -> None:
        self._showTrusted()
        self.onForgotten(sums)

    def _stamp(self) -> trust.Stamp:
        published = self._published.network(self._path())
        return trust.stampOfNetwork(self._path() if published is None else published.file, self._settingsPath())

    def _update(self) -> None:
        """Describe the network, if it is not known yet, and show what it is."""
        now = (self._path(), self._settingsPath(), self._stamp()) if self._state is not None else ()
        if now == self._known:
            return
        before = self._entry
        self._entry, self._problem, self._packagesMissing = None, "", False
        if self._state is not None:
            self._ask()
        self._known = None if self._packagesMissing else now
        widgets.say(self.infoNote, breakable(_inWords(self._entry)) if self._entry is not None else "")
        widgets.say(self.problemNote, breakable(self._problem))
        if self._entry != before:
            self.onNetworkChanged()

    def _ask(self) -> None:
        if not self._path():
            self._problem = _("Choose the network's folder.") if self._mode == _FOLDER else _("Choose a network file.")
            return
        published = self._published.network(self._path())
        if published is not None and not published.there:
            self._problem = _("This network is not downloaded yet.")
            return
        try:
            self._entry = self._describe(self._path(), self._settingsPath())
        except InputError as error:
            self._problem = _(str(error))
        except ImportError:
            self._packagesMissing = True
            self._problem = _("The network is described here once the packages that it needs are installed.")


def _sourceTip() -> str:
    return _("The network that is used: one that comes with this software, a published one to download, or one of your own")


def _builtinTitle(name: str) -> str:
    words = name.removeprefix(trust.BUILTIN).replace("-", " ").replace("_", " ")
    return _("{name} (built-in)").format(name=words[:1].upper() + words[1:])


def _inWords(entry: Any) -> str:
    """Channels, classes, grid, size and description of a network, in lines."""
    found = [(label, name) for label, name in entry.classes if name in entry.structures] or entry.classes
    classes = ", ".join(f"{label} {name}" for label, name in found)
    lines = [
        _("Takes {channels}.").format(channels=", ".join(entry.channels)),
        _("Finds {classes}.").format(classes=classes),
        _("Works on: {grid}.").format(grid=entry.grid.rstrip(".")),
        _("Size: {size}.").format(size=_sizeInWords(entry.sizeBytes)),
    ]
    if entry.needsTrust:
        lines.append(_("This file is a program: unless you trust it already, you are asked before it is opened."))
    if entry.description:
        lines.append(_(entry.description))
    return "\n".join(lines)


def _sizeInWords(size: int) -> str:
    if size < _MEGABYTE / 10:
        return _("{size} kB").format(size=f"{size / 1024:.0f}")
    megabytes = size / _MEGABYTE
    return _("{size} MB").format(size=f"{megabytes:.1f}" if megabytes < 10 else f"{megabytes:.0f}")
