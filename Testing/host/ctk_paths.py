"""CTK's path line edit."""

from __future__ import annotations

import re
from typing import Any

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Signal

from .gate import hostWidget


@hostWidget("ctk", "ctkPathLineEdit")
class PathLineEdit(QtWidgets.QWidget):
    """A path with a history and a button "..." that opens a file dialog for what `filters` and `nameFilters` say.

    As in CTK, `currentPathChanged` comes only for acceptable paths: not for an empty one, and with `nameFilters` such as
    "Networks (*.pt)" only for names that end with the letters after the first dot of one of them.
    """

    Dirs, Files, Drives, NoSymLinks, AllEntries, TypeMask, AllDirs = 0x1, 0x2, 0x4, 0x8, 0x7, 0xF, 0x400
    Readable, Writable, Executable, PermissionMask = 0x10, 0x20, 0x40, 0x70
    Modified, Hidden, System, AccessMask = 0x80, 0x100, 0x200, 0x3F0
    CaseSensitive, NoDotAndDotDot, NoDot, NoDotDot, NoFilter = 0x800, 0x6000, 0x2000, 0x4000, -1
    ShowDirsOnly, DontResolveSymlinks, DontConfirmOverwrite, DontUseNativeDialog, ReadOnly = 0x1, 0x2, 0x4, 0x10, 0x20
    DontUseSheet, HideNameFilterDetails = 0x8, 0x40
    AdjustToContents, AdjustToContentsOnFirstShow, AdjustToMinimumContentsLength = 0, 1, 2
    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)

    def __init__(self, *args: Any) -> None:
        super().__init__(next((a for a in args if isinstance(a, QtWidgets.QWidget)), None))
        filters = self.AllEntries | self.NoDotAndDotDot | self.Readable | self.Executable
        self._values: dict[str, Any] = {"label": "", "filters": filters, "options": 0, "key": "", "names": []}
        self._adjust = {"policy": self.AdjustToContentsOnFirstShow, "length": 0}
        self._valid = False
        self.combo = QtWidgets.QComboBox()
        self.combo.setEditable(True)
        self.combo.setInsertPolicy(QtWidgets.QComboBox.InsertPolicy.NoInsert)
        self.combo.setMinimumContentsLength(8)
        self.combo.setSizeAdjustPolicy(QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.button = QtWidgets.QToolButton()
        self.button.setText("...")
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.combo, 1)
        layout.addWidget(self.button)
        self.setFocusProxy(self.combo)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        self.button.clicked.connect(lambda: self.browse())
        self.combo.editTextChanged.connect(self._edited)

    def currentPath(self) -> str:
        return self.combo.currentText()

    def setCurrentPath(self, path: str) -> None:
        self.combo.setEditText(path)

    def _acceptable(self, path: str) -> bool:
        wildcards = [w for text in self._values["names"] for w in _wildcards(text)]
        endings = [match[1] for match in (re.search(r"\*\.(\w+)", w) for w in wildcards) if match]
        return any(re.fullmatch(rf".*\.{e}?", path) for e in endings) if endings else bool(path)

    def _edited(self, path: str) -> None:
        before, self._valid = self._valid, self._acceptable(path)
        if self._valid:
            self.currentPathChanged.emit(path)
        if self._valid != before:
            self.validInputChanged.emit(self._valid)

    def browse(self) -> None:
        """Ask for a file (to open, or, if `filters` has Writable, to save), or for a folder if `filters` has no Files."""
        dialog, filters = QtWidgets.QFileDialog, self._values["filters"]
        names = ";;".join(self._values["names"])
        if not filters & self.Files:
            path = dialog.getExistingDirectory(self, "Select a directory...", self.currentPath())
        elif filters & self.Writable:
            path = dialog.getSaveFileName(self, "Select a file to save", self.currentPath(), names)[0]
        else:
            path = dialog.getOpenFileName(self, "Open a file", self.currentPath(), names)[0]
        if path:
            self.setCurrentPath(path)

    def _history(self) -> list[str]:
        paths = QtCore.QSettings().value(f"ctkPathLineEdit/{self._values['key'] or self.objectName()}") or []
        return [paths] if isinstance(paths, str) else list(paths)

    def addCurrentPathToHistory(self) -> None:
        path = self.currentPath()
        if not path:
            return
        history = [path, *(p for p in self._history() if p != path)]
        QtCore.QSettings().setValue(f"ctkPathLineEdit/{self._values['key'] or self.objectName()}", history)
        self._showHistory(history, path)

    def retrieveHistory(self) -> None:
        """Fill the list; an empty path becomes the most recent one."""
        history = self._history()
        self._showHistory(history, self.currentPath())
        if not self.currentPath() and history:
            self.setCurrentPath(history[0])

    def _showHistory(self, history: list[str], path: str) -> None:
        blocked = self.combo.blockSignals(True)
        self.combo.clear()
        self.combo.addItems(history[:5])
        self.combo.setEditText(path)
        self.combo.blockSignals(blocked)

    def comboBox(self) -> QtWidgets.QComboBox:
        return self.combo

    def label(self) -> str:
        return self._values["label"]

    def setLabel(self, text: str) -> None:
        self._values["label"] = text

    def filters(self) -> int:
        return self._values["filters"]

    def setFilters(self, filters: int) -> None:
        self._values["filters"] = int(filters)

    def options(self) -> int:
        return self._values["options"]

    def setOptions(self, options: int) -> None:
        self._values["options"] = int(options)

    def nameFilters(self) -> list[str]:
        return self._values["names"]

    def setNameFilters(self, filters: list[str]) -> None:
        self._values["names"] = list(filters)

    def settingKey(self) -> str:
        return self._values["key"]

    def setSettingKey(self, key: str) -> None:
        self._values["key"] = key
        self.retrieveHistory()

    def showBrowseButton(self) -> bool:
        return not self.button.isHidden()

    def setShowBrowseButton(self, on: bool) -> None:
        self.button.setVisible(on)

    def showHistoryButton(self) -> bool:
        return True

    def minimumContentsLength(self) -> int:
        return self._adjust["length"]

    def setMinimumContentsLength(self, length: int) -> None:
        self._adjust["length"] = length
        self.combo.setMinimumContentsLength(length or 8)

    def sizeAdjustPolicy(self) -> int:
        return self._adjust["policy"]

    def setSizeAdjustPolicy(self, policy: int) -> None:
        self._adjust["policy"] = int(policy)


def _wildcards(nameFilter: str) -> list[str]:
    """`Networks (*.pt *.ts)` -> ["*.pt", "*.ts"]."""
    return nameFilter.partition("(")[2].rpartition(")")[0].split() or [nameFilter]
