"""Small helpers that every section of the panel is built with."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _

_TIP_COLUMNS = 72
_COMBO_CHARACTERS = 12
_LABEL_WIDTH, _WIDEST_LABEL = 84, 140
_NOTE_SCALE = 0.9
_DARK = 128
_PROBLEM_ON_LIGHT, _PROBLEM_ON_DARK = "#c62828", "#ff8a80"


def section(title: str, objectName: str, collapsed: bool = False) -> tuple[Any, Any]:
    """A part of the panel that folds: the ctkCollapsibleButton and its form, in which long rows wrap."""
    button = ctk.ctkCollapsibleButton()
    button.text = title
    button.objectName = objectName
    # of itself it is never narrower than its longest text would like to be
    button.setSizePolicy(qt.QSizePolicy.Preferred, qt.QSizePolicy.Preferred)
    form = formOf(button)
    button.collapsed = collapsed
    return button, form


def formOf(parent: Any) -> Form:
    """The form on a widget."""
    return Form(parent)


class Form:
    """Labelled fields, and what takes the panel's whole width, one below the other, for a panel of 400 pixels.

    Used as a QFormLayout: fields grow, and go below labels that are too long. A QFormLayout itself gives wrapped texts heights
    for another width than theirs once somebody has asked for its preferred size. So only labelled fields are in such layouts
    here; all else is between them.
    """

    def __init__(self, parent: Any) -> None:
        self._column = qt.QVBoxLayout(parent)
        self._parts: list[Any] = []
        self._fields: Any = None

    def addRow(self, *row: Any) -> None:
        """Add a widget or layout of the whole width, or a label (a widget or its text) and a field."""
        if len(row) == 2:
            if self._fields is None:
                self._fields = self._newFields()
            self._fields.addRow(*row)
            return
        (whole,) = row
        self._fields = None
        self._parts.append(None)
        if whole.inherits("QLayout"):
            self._column.addLayout(whole)
        else:
            self._column.addWidget(whole)

    def insertRow(self, place: int, label: Any, field: Any) -> None:
        """Put a label and a field before the labelled row at a place."""
        fields, within = self._find(place)
        fields.insertRow(within, label, field)

    def removeRow(self, place: int) -> None:
        """Delete the label and the field at a place."""
        fields, within = self._find(place)
        fields.removeRow(within)

    def labelForField(self, field: Any) -> Any:
        """The label of a field, or None."""
        labels = (x.labelForField(field) for x in self._parts if x is not None)
        return next((label for label in labels if label is not None), None)

    def setContentsMargins(self, left: int, top: int, right: int, bottom: int) -> None:
        """The free space around all rows."""
        self._column.setContentsMargins(left, top, right, bottom)

    def _newFields(self) -> Any:
        fields = qt.QFormLayout()
        fields.rowWrapPolicy = qt.QFormLayout.WrapLongRows
        fields.fieldGrowthPolicy = qt.QFormLayout.AllNonFixedFieldsGrow
        self._parts.append(fields)
        self._column.addLayout(fields)
        return fields

    def _find(self, place: int) -> tuple[Any, int]:
        """The layout with the labelled row at a place, and the row's place within it."""
        for part in self._parts:
            count = 1 if part is None else part.rowCount()
            if place < count and part is not None:
                return part, place
            place -= count
        raise IndexError("no labelled row is there")


def row(form: Any, label: str, widget: Any, objectName: str, toolTip: str, hint: str | None = None) -> Any:
    """Add a labelled widget to a form and give back the label, which is the widget's buddy.

    Args:
        form: the layout that `section` or `formOf` made.
        label: what stands before the widget.
        widget: the field; a combo box is kept from growing with its longest text.
        objectName: the widget's name; the label's is the same with "Label" at its end.
        toolTip: for both of them.
        hint: a second paragraph of the tool tip.
    """
    text = qt.QLabel(label)
    text.objectName = f"{objectName}Label"
    text.minimumWidth = _LABEL_WIDTH
    text.setBuddy(widget)
    widget.objectName = objectName
    widget.accessibleName = label
    text.toolTip = widget.toolTip = tip(toolTip if hint is None else f"{toolTip}\n{hint}")
    form.addRow(text, widget)
    return text


def button(text: str, objectName: str, toolTip: str) -> Any:
    """A push button."""
    made = qt.QPushButton(text)
    made.objectName = objectName
    made.toolTip = tip(toolTip)
    return made


def combo(objectName: str = "") -> Any:
    """A combo box that long entries do not widen: they lose their middle in the box, and are whole in the list."""
    made = ctk.ctkComboBox()
    made.objectName = objectName
    made.elideMode = qt.Qt.ElideMiddle
    narrow(made)
    return made


def pathLine(kind: int, nameFilters: list[str]) -> Any:
    """A line for the path of a file or folder, with a button that lets it be chosen."""
    line = ctk.ctkPathLineEdit()
    line.filters = kind | ctk.ctkPathLineEdit.Dirs | ctk.ctkPathLineEdit.NoDotAndDotDot | ctk.ctkPathLineEdit.Readable
    line.nameFilters = nameFilters
    line.sizeAdjustPolicy = ctk.ctkPathLineEdit.AdjustToMinimumContentsLength
    return line


def networkLine() -> Any:
    """A line for the path of a network file."""
    endings = "*.ts *.torchscript *.pt *.pth *.pt2 *.ckpt *.safetensors *.json *.zip"
    return pathLine(ctk.ctkPathLineEdit.Files, [f"{_('Networks')} ({endings})"])


def weightsLine() -> Any:
    """A line for the path of a file of numbers: a generator's, or a universal perturbation's."""
    return pathLine(ctk.ctkPathLineEdit.Files, [_("Weights") + " (*.safetensors)"])


def folderLine() -> Any:
    """A line for the path of a folder."""
    return pathLine(ctk.ctkPathLineEdit.Dirs, [])


def casesLine() -> Any:
    """A line for the path of a folder of cases, or of a file that lists them."""
    return pathLine(ctk.ctkPathLineEdit.Files, [_("Lists of cases") + " (*.csv *.tsv)"])


def narrow(box: Any) -> None:
    """Keep a combo box (also a node selector's) as narrow as a few characters, however long its entries are."""
    box.sizeAdjustPolicy = qt.QComboBox.AdjustToMinimumContentsLengthWithIcon
    box.minimumContentsLength = _COMBO_CHARACTERS


def shrink(widget: Any) -> None:
    """Let a widget have whatever width is left for it, in place of the width that its longest content would like to have.

    Slicer makes the panel as wide as its widgets would like to be; the views lose what it gains.
    """
    widget.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Preferred)


def note(objectName: str, problem: bool = False, italic: bool = False) -> Any:
    """A small label of plain text that wraps; for problems in red."""
    label = qt.QLabel()
    label.objectName = objectName
    shrink(label)
    label.wordWrap = True
    label.textFormat = qt.Qt.PlainText
    font = label.font
    if font.pointSizeF() > 0:
        font.setPointSizeF(font.pointSizeF() * _NOTE_SCALE)
    font.setItalic(italic)
    label.font = font
    if problem:
        dark = label.palette.window().color().lightness() < _DARK
        label.styleSheet = f"QLabel {{ color: {_PROBLEM_ON_DARK if dark else _PROBLEM_ON_LIGHT}; }}"
    return label


def align(labels: Sequence[Any]) -> None:
    """Make labels of several forms equally wide, so that their fields stand below each other."""
    for label in labels:
        label.minimumWidth = 0
    width = max((x.sizeHint.width() for x in labels), default=0)
    for label in labels:
        label.minimumWidth = max(_LABEL_WIDTH, min(width, _WIDEST_LABEL))


def shown(widget: Any, form: Any, visible: bool) -> None:
    """Show or hide a row of a form: the widget together with its label."""
    label = form.labelForField(widget)
    if label is not None:
        label.setVisible(visible)
    widget.setVisible(visible)


def say(label: Any, text: str) -> None:
    """Write a note, and hide it while it is empty."""
    if label.text != text:
        label.text = text
    label.setVisible(bool(text))


def tip(text: str) -> str:
    """A tool tip's text with lines of a readable length: Qt wraps no plain text there."""
    return "\n".join(textwrap.fill(line, _TIP_COLUMNS, break_long_words=False) for line in text.splitlines())


@contextmanager
def blocked(widget: Any) -> Iterator[None]:
    """Keep a widget from telling of its changes while it is being refreshed."""
    before = widget.blockSignals(True)
    try:
        yield
    finally:
        widget.blockSignals(before)


def fillCombo(box: Any, items: Sequence[tuple[str, Any]], currentData: Any) -> None:
    """Show the entries (text, data) in a combo box and choose one by its data, without telling of it.

    Entries that are there already stay, so that an open list or the keyboard's place in it is not lost. Data that no entry
    has chooses none.
    """
    there = [(box.itemText(n), box.itemData(n)) for n in range(box.count)]
    wanted = [(text, data) for text, data in items]
    index = next((n for n, (_text, data) in enumerate(wanted) if data == currentData), -1)
    with blocked(box):
        if there != wanted:
            box.clear()
            for text, data in wanted:
                box.addItem(text, data)
        if box.currentIndex != index:
            box.setCurrentIndex(index)
