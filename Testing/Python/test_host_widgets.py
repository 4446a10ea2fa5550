"""The Qt and CTK widgets that the module uses, in the host: ownership, tables, numbers, dialogs, collapsing sections."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest


@pytest.fixture(name="q")
def modules(slicerHost: Any) -> SimpleNamespace:  # noqa: N803
    import ctk
    import qt

    return SimpleNamespace(qt=qt, ctk=ctk, host=slicerHost)


# the things that the module uses


def test_one_proxy_for_one_object(q: SimpleNamespace) -> None:
    qt = q.qt
    widget = qt.QWidget()
    layout = qt.QVBoxLayout(widget)
    button = qt.QPushButton()
    layout.addWidget(button)
    assert widget.layout() is layout and layout.itemAt(0).widget() is button and button.parent() is widget
    del layout
    assert widget.layout().count() == 1
    button.setParent(None)
    button.deleteLater()
    q.host.processEvents()
    assert not button
    with pytest.raises(ValueError, match="destroyed"):
        _ = button.text


def test_children_outlive_their_proxies(q: SimpleNamespace) -> None:
    import gc

    qt, got = q.qt, []
    widget = qt.QWidget()
    form = qt.QFormLayout(widget)
    for name in "ab":
        box = qt.QCheckBox(name)
        box.connect("toggled(bool)", lambda on, name=name: got.append((name, on)))
        form.addRow(name, box)
    del box, form
    gc.collect()
    for box in widget.findChildren(qt.QCheckBox):
        box.checked = True
    assert got == [("a", True), ("b", True)]
    assert widget.layout().rowCount() == 2
    assert widget.layout().labelForField(widget.findChild(qt.QCheckBox)).text == "a"


def test_single_shot_and_timer(q: SimpleNamespace) -> None:
    qt, got = q.qt, []
    qt.QTimer.singleShot(0, lambda: got.append("once"))
    timer = qt.QTimer()
    timer.interval = 1
    timer.connect("timeout()", lambda: got.append("timer"))
    assert timer.timeout.connect(timer.stop)
    timer.start()
    assert timer.active
    q.host.processEvents(0.05)
    assert got == ["once", "timer"] and timer.interval == 1


def test_tables_lists_and_groups(q: SimpleNamespace) -> None:
    qt = q.qt
    table = qt.QTableWidget(2, 2)
    table.setItem(0, 0, qt.QTableWidgetItem("x"))
    table.setHorizontalHeaderLabels(["a", "b"])
    table.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
    assert table.item(0, 0).text() == "x" and table.horizontalHeaderItem(1).text() == "b"
    stack, group = qt.QStackedWidget(), qt.QButtonGroup()
    stack.addWidget(qt.QLabel("page"))
    one, two = qt.QRadioButton("1"), qt.QRadioButton("2")
    group.addButton(one, 1)
    group.addButton(two, 2)
    got = []
    group.connect("idClicked(int)", got.append)
    two.click()
    assert (stack.count, group.checkedId(), got) == (1, 2, [2])
    text = qt.QPlainTextEdit()
    text.appendPlainText("line")
    assert text.plainText == "line" and text.toPlainText() == "line"
    grid = qt.QGridLayout()
    grid.addWidget(qt.QToolButton(), 0, 1, qt.Qt.AlignTop)
    assert grid.columnCount() == 2


def test_numbers(q: SimpleNamespace) -> None:
    qt = q.qt
    for box in (qt.QDoubleSpinBox(), q.ctk.ctkDoubleSpinBox()):
        got = []
        box.decimals, box.minimum, box.maximum, box.singleStep, box.suffix = 4, -1, 1, 0.01, " mm"
        assert box.connect("valueChanged(double)", got.append)
        box.value = 0.1234
        assert (box.value, box.suffix, got) == (0.1234, " mm", [0.1234])
    assert qt.QLocale().toDouble("1") == 1.0  # no pair
    assert qt.QCoreApplication.translate("c", "text") == "text"


def test_values(q: SimpleNamespace, tmp_path: Any) -> None:
    qt = q.qt
    assert qt.QColor(255, 0, 0).name() == "#ff0000" and qt.QColor("red") == qt.QColor(255, 0, 0)
    assert qt.QUrl.fromLocalFile("/a b").toString() == "file:///a b"
    font = qt.QFont()
    font.setBold(True)
    label = qt.QLabel()
    label.font = font
    assert label.font.bold() is True
    pixmap = qt.QPixmap(4, 4)
    assert qt.QIcon(pixmap).isNull() is False and bool(qt.QDesktopServices.openUrl)
    settings = qt.QSettings(str(tmp_path / "s.ini"), qt.QSettings.IniFormat)
    settings.setValue("list", ["a", "b"])
    assert settings.value("list") == ("a", "b") and settings.value("none", 4) == 4
    with pytest.raises(TypeError):
        settings.value("none", 4, int)


def test_file_dialogs_return_only_the_path(q: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    from PySide6 import QtWidgets

    monkeypatch.setattr(QtWidgets.QFileDialog, "getOpenFileName", lambda *_: ("/a/b.pt", "Networks (*.pt)"))
    assert q.qt.QFileDialog.getOpenFileName(None, "Open", "", "Networks (*.pt)") == "/a/b.pt"


def test_message_box(q: SimpleNamespace) -> None:
    qt = q.qt
    box = qt.QMessageBox()
    box.text = "Go on?"
    box.standardButtons = qt.QMessageBox.Yes | qt.QMessageBox.No
    qt.QTimer.singleShot(0, box.button(qt.QMessageBox.Yes).click)
    assert box.exec_() == qt.QMessageBox.Yes


# CTK


@pytest.mark.parametrize("kind", ["ctkCollapsibleButton", "ctkCollapsibleGroupBox"])
def test_collapsing_hides_the_contents_and_remembers(q: SimpleNamespace, kind: str) -> None:
    qt, window = q.qt, q.qt.QWidget()
    outer = qt.QVBoxLayout(window)
    section = getattr(q.ctk, kind)("Images")
    form = qt.QFormLayout(section)
    shown, hidden = qt.QLabel("shown"), qt.QLabel("hidden")
    form.addRow(shown)
    form.addRow(hidden)
    hidden.visible = False
    outer.addWidget(section)
    window.show()
    assert (section.collapsed, shown.visible, hidden.visible) == (False, True, False)
    tall = section.sizeHint.height()
    section.collapsed = True
    assert (section.collapsed, section.checked, shown.visible) == (True, False, False)
    assert kind == "ctkCollapsibleGroupBox" or section.sizeHint.height() < tall
    hidden.visible, shown.visible = True, False  # while collapsed: kept for later
    assert (hidden.visible, shown.visible) == (False, False)
    section.collapsed = False
    assert (hidden.visible, shown.visible) == (True, False)
    window.hide()


def test_a_collapsible_button_tells(q: SimpleNamespace) -> None:
    button, got = q.ctk.ctkCollapsibleButton(), []
    button.text = "Run"
    assert button.connect("contentsCollapsed(bool)", got.append)
    assert button.contentsCollapsed.connect(got.append)
    button.click()
    assert got == [True, True] and button.className() == "ctkCollapsibleButton" and button.inherits("QAbstractButton")


def test_slider_widget(q: SimpleNamespace) -> None:
    window = q.qt.QWidget()
    layout = q.qt.QVBoxLayout(window)
    slider, sibling, got = q.ctk.ctkSliderWidget(), q.ctk.ctkSliderWidget(), []
    layout.addWidget(slider)
    layout.addWidget(sibling)
    slider.connect("valueChanged(double)", got.append)
    slider.minimum, slider.maximum, slider.singleStep = 0, 1, 0.05
    slider.decimals = 3
    slider.value = 0.25
    assert (slider.value, got, sibling.decimals) == (0.25, [0.25], 3)  # CTK synchronises the decimals of siblings
    slider.findChild("QSlider").triggerAction(q.qt.QAbstractSlider.SliderSingleStepAdd)
    assert slider.value == pytest.approx(0.3)


def test_path_line_edit(q: SimpleNamespace, tmp_path: Any) -> None:
    edit, got = q.ctk.ctkPathLineEdit(), []
    edit.filters = q.ctk.ctkPathLineEdit.Files | q.ctk.ctkPathLineEdit.Readable
    edit.nameFilters = ["Networks (*.pt *.ts)", "All files (*)"]
    edit.settingKey = "HostTest"
    edit.connect("currentPathChanged(QString)", got.append)
    edit.connect("validInputChanged(bool)", got.append)
    edit.currentPath = "/a/net.pt"
    edit.setCurrentPath("/a/net.nii")
    edit.currentPath = ""
    assert got == ["/a/net.pt", True, False] and edit.nameFilters == ("Networks (*.pt *.ts)", "All files (*)")


def test_other_ctk_widgets(q: SimpleNamespace) -> None:
    ctk, qt = q.ctk, q.qt
    combo, got = ctk.ctkCheckableComboBox(), []
    combo.connect("checkedIndexesChanged()", lambda: got.append(1))
    combo.addItems(["T1", "T2"])
    got.clear()
    combo.setCheckState(combo.model().index(1, 0), qt.Qt.Checked)
    assert [index.row() for index in combo.checkedIndexes()] == [1] and got == [1]
    assert not combo.allChecked() and not combo.noneChecked()
    plain = ctk.ctkComboBox()
    plain.defaultText = "choose"
    plain.elideMode = qt.Qt.ElideRight
    assert (plain.defaultText, plain.elideMode) == ("choose", qt.Qt.ElideRight)
    browser = ctk.ctkFittedTextBrowser()
    browser.setHtml("one<br>two<br>three")
    assert browser.sizeHint.height() > 30
    for name in ("ctkExpandButton", "ctkPushButton", "ctkMenuButton", "ctkSearchBox", "ctkMessageBox"):
        assert getattr(ctk, name)().className() == name
