"""CTK's buttons, combo boxes and search box."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Qt, Signal

from .gate import hostWidget


class Elided:
    """Takes letters from texts for which there is no room, if it is told to."""

    _elide = Qt.TextElideMode.ElideNone
    _narrowest = 40

    def elideMode(self) -> Qt.TextElideMode:
        return self._elide

    def setElideMode(self, mode: Qt.TextElideMode) -> None:
        self._elide = Qt.TextElideMode(mode)
        self.updateGeometry()

    def minimumSizeHint(self) -> QtCore.QSize:
        hint = super().minimumSizeHint()
        return hint if self._elide == Qt.TextElideMode.ElideNone else QtCore.QSize(self._narrowest, hint.height())


@hostWidget("ctk", "ctkPushButton")
class PushButton(Elided, QtWidgets.QPushButton):
    """A push button that can elide its text; the alignments are kept, not drawn."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._textAlignment = Qt.AlignmentFlag.AlignCenter
        self._iconAlignment = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter

    def buttonTextAlignment(self) -> Qt.AlignmentFlag:
        return self._textAlignment

    def setButtonTextAlignment(self, alignment: Qt.AlignmentFlag) -> None:
        self._textAlignment = Qt.AlignmentFlag(alignment)

    def iconAlignment(self) -> Qt.AlignmentFlag:
        return self._iconAlignment

    def setIconAlignment(self, alignment: Qt.AlignmentFlag) -> None:
        self._iconAlignment = Qt.AlignmentFlag(alignment)


@hostWidget("ctk", "ctkMenuButton")
class MenuButton(QtWidgets.QPushButton):
    """A push button with a menu."""


@hostWidget("ctk", "ctkComboBox")
class ComboBox(Elided, QtWidgets.QComboBox):
    """A combo box with a default text, whose current text can be elided. The wheel works as in Qt unless `scrollWheelEffect`
    says otherwise."""

    NeverScroll, AlwaysScroll, ScrollWithFocus, ScrollWithNoVScrollBar = 0, 1, 2, 3
    returnRelease = Signal()
    _narrowest = 50

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._defaultIcon = QtGui.QIcon()
        self._forceDefault = False
        self._wheel = self.AlwaysScroll

    def defaultText(self) -> str:
        return self.placeholderText()

    def setDefaultText(self, text: str) -> None:
        self.setPlaceholderText(text)

    def defaultIcon(self) -> QtGui.QIcon:
        return self._defaultIcon

    def setDefaultIcon(self, icon: QtGui.QIcon) -> None:
        self._defaultIcon = icon

    def isDefaultForced(self) -> bool:
        return self._forceDefault

    forceDefault = isDefaultForced

    def setForceDefault(self, on: bool) -> None:
        self._forceDefault = on

    def scrollWheelEffect(self) -> int:
        return self._wheel

    def setScrollWheelEffect(self, effect: int) -> None:
        self._wheel = int(effect)

    def wheelEvent(self, event: QtGui.QWheelEvent) -> None:
        scrolls = self._wheel == self.AlwaysScroll or (self._wheel == self.ScrollWithFocus and self.hasFocus())
        super().wheelEvent(event) if scrolls else event.ignore()

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        if self._elide == Qt.TextElideMode.ElideNone:
            super().paintEvent(event)
            return
        style, option = QtWidgets.QStyle, QtWidgets.QStyleOptionComboBox()
        self.initStyleOption(option)
        field = style.SubControl.SC_ComboBoxEditField
        room = self.style().subControlRect(style.ComplexControl.CC_ComboBox, option, field, self).width()
        option.currentText = option.fontMetrics.elidedText(option.currentText, self._elide, room - 4)
        painter = QtWidgets.QStylePainter(self)
        painter.drawComplexControl(style.ComplexControl.CC_ComboBox, option)
        painter.drawControl(style.ControlElement.CE_ComboBoxLabel, option)

    def currentUserDataAsString(self) -> str:
        return str(self.currentData() or "")

    def setCurrentUserDataAsString(self, text: str) -> None:
        found = next((i for i in range(self.count()) if str(self.itemData(i)) == text), -1)
        self.setCurrentIndex(found)


@hostWidget("ctk", "ctkCheckableComboBox")
class CheckableComboBox(QtWidgets.QComboBox):
    """A combo box whose items have check boxes; it shows the checked ones."""

    checkedIndexesChanged = Signal()
    returnRelease = Signal()

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.model().rowsInserted.connect(self._makeCheckable)
        self.model().dataChanged.connect(self._changed)
        self.view().viewport().installEventFilter(self)

    def _makeCheckable(self, _parent: QtCore.QModelIndex, first: int, last: int) -> None:
        for row in range(first, last + 1):
            item = self.model().item(row)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setData(Qt.CheckState.Unchecked.value, Qt.ItemDataRole.CheckStateRole)

    def _changed(self, _first: QtCore.QModelIndex, _last: QtCore.QModelIndex, roles: list[int]) -> None:
        if Qt.ItemDataRole.CheckStateRole in roles:
            self.checkedIndexesChanged.emit()
            self.update()

    def eventFilter(self, watched: QtCore.QObject, event: QtCore.QEvent) -> bool:
        """A click in the list checks the item and leaves the list open."""
        if watched is self.view().viewport() and event.type() == QtCore.QEvent.Type.MouseButtonRelease:
            index = self.view().indexAt(event.position().toPoint())
            checked = self.checkState(index) == Qt.CheckState.Checked
            self.setCheckState(index, Qt.CheckState.Unchecked if checked else Qt.CheckState.Checked)
            return True
        return super().eventFilter(watched, event)

    def checkedIndexes(self) -> list[QtCore.QModelIndex]:
        rows = [self.model().index(row, 0) for row in range(self.count())]
        return [index for index in rows if self.checkState(index) == Qt.CheckState.Checked]

    def allChecked(self) -> bool:
        return len(self.checkedIndexes()) == self.count()

    def noneChecked(self) -> bool:
        return not self.checkedIndexes()

    def checkState(self, index: QtCore.QModelIndex) -> Qt.CheckState:
        value = self.model().data(index, Qt.ItemDataRole.CheckStateRole)
        return Qt.CheckState(getattr(value, "value", value) or 0)

    def setCheckState(self, index: QtCore.QModelIndex, state: Qt.CheckState) -> None:
        value = getattr(state, "value", state)
        self.model().setData(index, value, Qt.ItemDataRole.CheckStateRole)

    def checkableModel(self) -> QtCore.QAbstractItemModel:
        return self.model()

    def paintEvent(self, _event: QtGui.QPaintEvent) -> None:
        option = QtWidgets.QStyleOptionComboBox()
        self.initStyleOption(option)
        texts = [index.data() for index in self.checkedIndexes()]
        option.currentText = "All" if texts and self.allChecked() else ", ".join(texts) or "None"
        painter = QtWidgets.QStylePainter(self)
        painter.drawComplexControl(QtWidgets.QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_ComboBoxLabel, option)


@hostWidget("ctk", "ctkSearchBox")
class SearchBox(QtWidgets.QLineEdit):
    """A line edit with a clear button."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._icons = {"search": QtGui.QIcon(), "clear": QtGui.QIcon()}
        self._showSearch = False
        self.setClearButtonEnabled(True)
        self.setPlaceholderText("Search...")

    def showSearchIcon(self) -> bool:
        return self._showSearch

    def setShowSearchIcon(self, on: bool) -> None:
        self._showSearch = on

    def searchIcon(self) -> QtGui.QIcon:
        return self._icons["search"]

    def setSearchIcon(self, icon: QtGui.QIcon) -> None:
        self._icons["search"] = icon

    def clearIcon(self) -> QtGui.QIcon:
        return self._icons["clear"]

    def setClearIcon(self, icon: QtGui.QIcon) -> None:
        self._icons["clear"] = icon
