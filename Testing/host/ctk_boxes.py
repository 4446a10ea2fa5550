"""CTK's containers: collapsible button, collapsible group box, expand button, fitted text browser, message box."""

from __future__ import annotations

from typing import Any

import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Qt, Signal

from .gate import hostWidget

_UNLIMITED = 16777215


class Contents:
    """Hides and shows the children of a collapsible container, as CTK does: one by one.

    What `visible` a child was given is kept in its dynamic property `visibilityToParent`; while the container is collapsed
    the child stays hidden whatever it is given, and gets what it was given when the container opens.
    """

    def __init__(self, owner: QtWidgets.QWidget) -> None:
        self._owner, self._watched = owner, []
        self._forcing = False

    def apply(self, collapsed: bool) -> None:
        """Hide or show all children of the owner."""
        for child in self._owner.children():
            self.add(child, collapsed)

    def add(self, child: QtCore.QObject, collapsed: bool) -> None:
        """Watch one child and hide or show it. Not while it is still being constructed."""
        if not isinstance(child, QtWidgets.QWidget) or child.isWindow():
            return
        if not any(child is known for known in self._watched):
            self._watched = [known for known in self._watched if shiboken6.isValid(known)] + [child]
            if child.testAttribute(Qt.WidgetAttribute.WA_WState_ExplicitShowHide) and child.isHidden():
                child.setProperty("visibilityToParent", False)
            child.installEventFilter(self._owner)
        self._set(child, collapsed)

    def childEvent(self, event: QtCore.QChildEvent, collapsed: bool) -> None:
        """For the owner's childEvent."""
        if event.type() == QtCore.QEvent.Type.ChildPolished:
            self.add(event.child(), collapsed)

    def eventFilter(self, child: QtCore.QObject, event: QtCore.QEvent, collapsed: bool) -> None:
        """For the owner's eventFilter: somebody else showed or hid a child."""
        if self._forcing or event.type() not in (QtCore.QEvent.Type.ShowToParent, QtCore.QEvent.Type.HideToParent):
            return
        shown = event.type() == QtCore.QEvent.Type.ShowToParent
        child.setProperty("visibilityToParent", shown)
        if shown:
            self._set(child, collapsed)

    def _set(self, child: QtWidgets.QWidget, collapsed: bool) -> None:
        wanted = child.property("visibilityToParent")
        self._forcing = True
        child.setVisible(not collapsed and wanted is not False)
        self._forcing = False
        if wanted is not False:
            child.setAttribute(Qt.WidgetAttribute.WA_WState_ExplicitShowHide, False)


@hostWidget("ctk", "ctkCollapsibleButton")
class CollapsibleButton(QtWidgets.QAbstractButton):
    """A section: a header with an arrow that a click opens and closes, and the contents below it."""

    contentsCollapsed = Signal(bool)

    def __init__(self, *args: Any) -> None:
        super().__init__(next((a for a in args if isinstance(a, QtWidgets.QWidget)), None))
        self._collapsed = False
        self._contents = Contents(self)
        self._looks = {
            "collapsedHeight": 10,
            "flat": False,
            "contentsFrameShape": QtWidgets.QFrame.Shape.NoFrame,
            "contentsFrameShadow": QtWidgets.QFrame.Shadow.Plain,
            "contentsLineWidth": 1,
            "contentsMidLineWidth": 0,
            "buttonTextAlignment": Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter,
            "indicatorAlignment": Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter,
        }
        self.setText(args[0] if args and isinstance(args[0], str) else "")
        self.setCheckable(True)
        self.setChecked(True)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Minimum, QtWidgets.QSizePolicy.Policy.Preferred)
        self.setContentsMargins(0, self._headerHeight(), 0, 0)
        self.toggled.connect(self._toggle)

    def collapsed(self) -> bool:
        return self._collapsed

    def setCollapsed(self, on: bool) -> None:
        self.setChecked(not on)

    def _toggle(self, opened: bool) -> None:
        self._collapsed = not opened
        self.setMaximumHeight(_UNLIMITED if opened else self.sizeHint().height())
        self._contents.apply(self._collapsed)
        self.updateGeometry()
        self.update()
        self.contentsCollapsed.emit(self._collapsed)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        self._contents.childEvent(event, self._collapsed)
        super().childEvent(event)

    def eventFilter(self, child: QtCore.QObject, event: QtCore.QEvent) -> bool:
        self._contents.eventFilter(child, event, self._collapsed)
        return False

    def _headerHeight(self) -> int:
        return self.fontMetrics().height() + 10

    def sizeHint(self) -> QtCore.QSize:
        return self._hint(super().sizeHint())

    def minimumSizeHint(self) -> QtCore.QSize:
        return self._hint(super().minimumSizeHint())

    def _hint(self, contents: QtCore.QSize) -> QtCore.QSize:
        header = QtCore.QSize(self.fontMetrics().horizontalAdvance(self.text()) + 40, self._headerHeight())
        if self._collapsed:
            return header + QtCore.QSize(0, self._looks["collapsedHeight"])
        return contents.expandedTo(header)

    def hitButton(self, position: QtCore.QPoint) -> bool:
        return position.y() < self._headerHeight()

    def paintEvent(self, _event: QtGui.QPaintEvent) -> None:
        """The header only; the contents paint themselves."""
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width(), self._headerHeight() - 2)
        option.state |= QtWidgets.QStyle.StateFlag.State_Sunken if self.isDown() else QtWidgets.QStyle.StateFlag.State_Raised
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, option)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(6, (option.rect.height() - 12) // 2, 12, 12)
        kind = QtWidgets.QStyle.PrimitiveElement
        painter.drawPrimitive(kind.PE_IndicatorArrowRight if self._collapsed else kind.PE_IndicatorArrowDown, arrow)
        font = self.font()
        font.setBold(True)
        painter.setFont(font)
        place = option.rect.adjusted(24, 0, -6, 0)
        text = QtGui.QFontMetrics(font).elidedText(self.text(), Qt.TextElideMode.ElideRight, place.width())
        flags = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        painter.drawItemText(place, flags, self.palette(), self.isEnabled(), text, QtGui.QPalette.ColorRole.ButtonText)


def _look(name: str) -> tuple[Any, Any]:
    """Getter and setter of a property that only changes how CTK draws, which the host does not follow."""

    def getter(self: CollapsibleButton) -> Any:
        return self._looks[name]

    def setter(self: CollapsibleButton, value: Any) -> None:
        self._looks[name] = value

    return getter, setter


for _name in (
    "collapsedHeight",
    "flat",
    "contentsFrameShape",
    "contentsFrameShadow",
    "contentsLineWidth",
    "contentsMidLineWidth",
    "buttonTextAlignment",
    "indicatorAlignment",
):
    _getter, _setter = _look(_name)
    setattr(CollapsibleButton, _name, _getter)
    setattr(CollapsibleButton, f"set{_name[0].upper()}{_name[1:]}", _setter)


@hostWidget("ctk", "ctkCollapsibleGroupBox")
class CollapsibleGroupBox(QtWidgets.QGroupBox):
    """A group box whose check box opens and closes it (`toggled(bool)`: true when open)."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._contents = Contents(self)
        self._collapsedHeight = 14
        self.setCheckable(True)
        self.setChecked(True)
        self.toggled.connect(self._toggle)

    def collapsed(self) -> bool:
        return not self.isChecked()

    def setCollapsed(self, on: bool) -> None:
        self.setChecked(not on)

    def collapsedHeight(self) -> int:
        return self._collapsedHeight

    def setCollapsedHeight(self, height: int) -> None:
        self._collapsedHeight = height

    def _toggle(self, opened: bool) -> None:
        self._contents.apply(not opened)
        self.setMaximumHeight(_UNLIMITED if opened else self.fontMetrics().height() + self._collapsedHeight)
        self.updateGeometry()

    def paintEvent(self, _event: QtGui.QPaintEvent) -> None:
        """An arrow in place of the check box."""
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionGroupBox()
        self.initStyleOption(option)
        box = QtWidgets.QStyle.SubControl.SC_GroupBoxCheckBox
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = self.style().subControlRect(QtWidgets.QStyle.ComplexControl.CC_GroupBox, option, box, self)
        option.subControls &= ~box
        option.text = f"     {option.text}"  # room for the arrow
        painter.drawComplexControl(QtWidgets.QStyle.ComplexControl.CC_GroupBox, option)
        kind = QtWidgets.QStyle.PrimitiveElement
        painter.drawPrimitive(kind.PE_IndicatorArrowRight if self.collapsed() else kind.PE_IndicatorArrowDown, arrow)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        self._contents.childEvent(event, self.collapsed())
        super().childEvent(event)

    def eventFilter(self, child: QtCore.QObject, event: QtCore.QEvent) -> bool:
        self._contents.eventFilter(child, event, self.collapsed())
        return False


@hostWidget("ctk", "ctkExpandButton")
class ExpandButton(QtWidgets.QToolButton):
    """A checkable arrow: right or left, turned round when checked."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._orientation = Qt.Orientation.Horizontal
        self._mirror = False
        self.setCheckable(True)
        self.setAutoRaise(True)
        self.toggled.connect(lambda _on: self._turn())
        self._turn()

    def orientation(self) -> Qt.Orientation:
        return self._orientation

    def setOrientation(self, orientation: Qt.Orientation) -> None:
        self._orientation = Qt.Orientation(orientation)
        self._turn()

    def mirrorOnExpand(self) -> bool:
        return self._mirror

    def setMirrorOnExpand(self, on: bool) -> None:
        self._mirror = on
        self._turn()

    def _turn(self) -> None:
        away = self.isChecked() and self._mirror
        if self._orientation == Qt.Orientation.Horizontal:
            self.setArrowType(Qt.ArrowType.LeftArrow if away else Qt.ArrowType.RightArrow)
        else:
            self.setArrowType(Qt.ArrowType.UpArrow if away else Qt.ArrowType.DownArrow)


@hostWidget("ctk", "ctkMessageBox")
class MessageBox(QtWidgets.QMessageBox):
    """A message box with "Don't show this message again", remembered in the settings under a key."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._key = ""
        self._visible = False
        self._box = QtWidgets.QCheckBox("Don't show this message again", self)
        self.setCheckBox(self._box)
        self._box.hide()

    def dontShowAgain(self) -> bool:
        return self._box.isChecked()

    def setDontShowAgain(self, on: bool) -> None:
        self._box.setChecked(on)

    def dontShowAgainVisible(self) -> bool:
        return self._visible

    def setDontShowAgainVisible(self, on: bool) -> None:
        self._visible = on
        self._box.setVisible(on)

    def dontShowAgainSettingsKey(self) -> str:
        return self._key

    def setDontShowAgainSettingsKey(self, key: str) -> None:
        self._key = key
        self.setDontShowAgain(QtCore.QSettings().value(key, 0) not in (0, "0", "false", False))

    def exec(self) -> int:
        """Answers with the default button, without a question, once the user has said not to ask again."""
        if self._key and self.dontShowAgain():
            return int(self.standardButton(self.defaultButton()) if self.defaultButton() else QtWidgets.QMessageBox.Ok)
        result = super().exec()
        if self._key and self._visible:
            QtCore.QSettings().setValue(self._key, int(self.dontShowAgain()))
        return result


@hostWidget("ctk", "ctkFittedTextBrowser")
class FittedTextBrowser(QtWidgets.QTextBrowser):
    """A text browser as high as its text."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._texts = {"show": "Show details...", "hide": "Hide details.", "collapsible": ""}
        self._collapsed = True
        self.disableScroll = True
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        self.textChanged.connect(self.updateGeometry)

    def sizeHint(self) -> QtCore.QSize:
        document = self.document().clone()
        document.setTextWidth(max(self.viewport().width(), 50))
        return QtCore.QSize(200, round(document.size().height()) + 2 * self.frameWidth())

    minimumSizeHint = sizeHint

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:
        super().resizeEvent(event)
        self.updateGeometry()

    def collapsed(self) -> bool:
        return self._collapsed

    def setCollapsed(self, on: bool) -> None:
        self._collapsed = on
        self._showCollapsible()

    def collapsibleText(self) -> str:
        return self._texts["collapsible"]

    def setCollapsibleText(self, text: str) -> None:
        """Up to the first paragraph or line break when collapsed."""
        self._texts["collapsible"] = text
        self._showCollapsible()

    def _showCollapsible(self) -> None:
        text = self._texts["collapsible"]
        self.setText(text.partition("<br>")[0].partition("\n")[0] if self._collapsed else text)

    def disableMouseScroll(self) -> bool:
        return self.disableScroll

    def setDisableMouseScroll(self, on: bool) -> None:
        self.disableScroll = on

    def showDetailsText(self) -> str:
        return self._texts["show"]

    def setShowDetailsText(self, text: str) -> None:
        self._texts["show"] = text

    def hideDetailsText(self) -> str:
        return self._texts["hide"]

    def setHideDetailsText(self, text: str) -> None:
        self._texts["hide"] = text

    def wheelEvent(self, event: QtGui.QWheelEvent) -> None:
        event.ignore() if self.disableScroll else super().wheelEvent(event)
