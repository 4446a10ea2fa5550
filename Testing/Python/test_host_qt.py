"""The host's `qt` and `ctk` behave as PythonQt in a running Slicer, line by line, and refuse what Qt 6 dropped."""

from __future__ import annotations

import sys
import textwrap
from types import SimpleNamespace
from typing import Any

import pytest


@pytest.fixture(name="q")
def modules(slicerHost: Any) -> SimpleNamespace:  # noqa: N803
    import ctk
    import qt
    from host import api, dropped, gate

    return SimpleNamespace(qt=qt, ctk=ctk, host=slicerHost, api=api, dropped=dropped, gate=gate)


# properties and methods


def test_properties_are_values(q: SimpleNamespace) -> None:
    qt = q.qt
    combo, table, items = qt.QComboBox(), qt.QTableWidget(), qt.QListWidget()
    combo.addItems(["one", "two"])
    table.rowCount = 3
    items.addItem("x")
    assert (combo.count, combo.currentText, combo.currentIndex, table.rowCount, items.count) == (2, "one", 0, 3, 1)
    button = qt.QPushButton("text")
    assert (button.text, button.enabled, button.visible) == ("text", True, False)
    button.resize(70, 30)
    assert (button.size.width(), button.geometry.height(), button.width) == (70, 30, 70)
    with pytest.raises(TypeError, match="'int' object is not callable"):
        combo.count()


def test_methods_are_called_and_truthy_without(q: SimpleNamespace) -> None:
    qt = q.qt
    widget, combo, process = qt.QWidget(), qt.QComboBox(), qt.QProcess()
    combo.addItem("first")
    assert widget.isVisible() is False and bool(widget.isVisible) is True
    assert process.state() == qt.QProcess.NotRunning and bool(process.state)
    assert widget.layout() is None and bool(widget.layout)
    assert combo.itemText(0) == "first"
    assert "call it" in repr(widget.isVisible)


def test_setters_are_reachable_only_if_slicer_lists_them(q: SimpleNamespace) -> None:
    slider = q.ctk.ctkSliderWidget()
    with pytest.raises(AttributeError, match="setSuffix"):
        slider.setSuffix("%")
    slider.suffix = "%"
    slider.setValue(3)
    assert (slider.suffix, slider.value) == ("%", 3.0)
    bar, box = q.qt.QProgressBar(), q.qt.QCheckBox()
    bar.setMaximum(7)
    box.setChecked(True)
    box.setEnabled(False)
    assert (bar.maximum, box.checked, box.enabled) == (7, True, False)


def test_keyword_arguments_are_refused(q: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match="keyword"):
        q.qt.QPushButton("x", parent=None)
    with pytest.raises(ValueError, match="keyword"):
        q.qt.QWidget().resize(w=1, h=1)


def test_values_of_the_wrong_kind_are_refused(q: SimpleNamespace) -> None:
    label = q.qt.QLabel()
    with pytest.raises(AttributeError, match="does not accept"):
        label.text = None
    with pytest.raises(AttributeError, match="does not accept"):
        label.text = 5
    with pytest.raises(AttributeError, match="not writable"):
        label.width = 5


# attributes


def test_no_new_attributes_on_cpp_objects(q: SimpleNamespace) -> None:
    button = q.qt.QPushButton()
    with pytest.raises(AttributeError, match="creating new attributes on C\\+\\+ objects is not allowed"):
        button.foo = 1
    with pytest.raises(AttributeError, match="can not be overwritten"):
        button.click = None


def test_a_python_subclass_takes_any_attribute(q: SimpleNamespace) -> None:
    qt = q.qt

    class Wide(qt.QWidget):
        def __init__(self, parent: Any = None) -> None:
            super().__init__(parent)
            self.resized = []

        def resizeEvent(self, event: Any) -> None:  # noqa: N802
            self.resized.append(event.size().width())
            qt.QWidget.resizeEvent(self, event)

    widget = Wide()
    widget.enabledd = False
    widget.enabled = False
    assert widget.enabledd is False and widget.isEnabled() is False
    widget.resize(321, 20)
    widget.show()
    assert widget.resized[-1] == 321
    widget.hide()
    holder = qt.QWidget()
    box = qt.QVBoxLayout(holder)
    box.addWidget(Wide())
    assert holder.findChildren(qt.QWidget)[0].resized == []


def test_unknown_attributes_and_children_by_name(q: SimpleNamespace) -> None:
    qt = q.qt
    widget = qt.QWidget()
    with pytest.raises(AttributeError, match="no such name in Slicer's qt.QWidget: runButton"):
        _ = widget.runButton
    child = qt.QPushButton("run", widget)
    child.objectName = "runButton"
    assert widget.runButton is child
    assert not hasattr(widget, "runbutton")
    assert child.name == "runButton"


def test_typos_and_unknown_classes(q: SimpleNamespace) -> None:
    with pytest.raises(AttributeError, match="no such name"):
        _ = q.qt.QPushButton().enabledd
    with pytest.raises(AttributeError, match="not allowed"):
        q.qt.QPushButton().tooltip = "x"
    with pytest.raises(AttributeError, match="no such class in Slicer: qt.QPushbutton"):
        _ = q.qt.QPushbutton
    with pytest.raises(AttributeError, match="no such class"):
        _ = q.ctk.ctkNothing
    with pytest.raises(NotImplementedError, match="the host has no ctkVolumeRendering|the host has no ctkDoubleRangeSlider"):
        _ = q.ctk.ctkDoubleRangeSlider
    with pytest.raises(AttributeError, match="no such name"):
        _ = q.qt.QMessageBox.questionn
    with pytest.raises(ImportError):
        from qt import QNothing  # noqa: F401
    from qt import QWidget

    assert QWidget is q.qt.QWidget


# signals


def test_connect_by_signature_trims_arguments(q: SimpleNamespace) -> None:
    button, got = q.qt.QPushButton(), []
    assert button.connect("clicked(bool)", lambda: got.append("none")) is True
    assert button.connect("clicked(bool)", lambda x=5: got.append(x)) is True
    assert button.connect("clicked()", lambda *all_: got.append(all_)) is True
    button.click()
    assert got == ["none", False, ()]


def test_connect_by_attribute_gives_all_arguments(q: SimpleNamespace) -> None:
    button, got = q.qt.QPushButton(), []
    button.checkable = True
    assert button.clicked.connect(lambda *arguments: got.append(arguments)) is True
    button.click()
    assert got == [(True,)]
    slider = q.qt.QSlider()
    slider.valueChanged.connect(got.append)
    slider.setValue(4)
    slider.valueChanged.emit(9)
    assert got[1:] == [4, 9]


def test_disconnect(q: SimpleNamespace) -> None:
    class Owner:
        count = 0

        def run(self) -> None:
            self.count += 1

    button, owner = q.qt.QPushButton(), Owner()
    button.connect("clicked(bool)", owner.run)
    button.click()
    assert button.disconnect("clicked(bool)", owner.run) is True
    assert button.disconnect("clicked(bool)", owner.run) is False
    button.click()
    button.clicked.connect(lambda _on: owner.run())
    button.clicked.disconnect()
    button.click()
    assert owner.count == 1


def test_an_unknown_signal_is_false_and_a_line(q: SimpleNamespace, capsys: pytest.CaptureFixture) -> None:
    assert q.qt.QPushButton().connect("nosuch()", print) is False
    assert capsys.readouterr().err.count("\n") == 1
    assert len(q.host.refusedConnections) == 1
    q.host.refusedConnections.clear()


def test_errors_in_slots_are_printed_and_remembered(q: SimpleNamespace, capsys: pytest.CaptureFixture) -> None:
    def fails() -> None:
        raise KeyError("lost")

    button, got = q.qt.QPushButton(), []
    button.connect("clicked(bool)", fails)
    button.connect("clicked(bool)", lambda: got.append(1))
    button.click()
    assert got == [1]
    assert "KeyError: 'lost'" in capsys.readouterr().err
    assert [type(e) for e in q.host.slotErrors] == [KeyError]
    q.host.slotErrors.clear()


def test_connect_to_a_slot_of_another_widget(q: SimpleNamespace) -> None:
    edit, label = q.qt.QLineEdit(), q.qt.QLabel()
    assert edit.connect("textChanged(QString)", label, "setText(QString)")
    edit.text = "abc"
    assert label.text == "abc"
    assert edit.connect("textChanged(QString)", label, "setTexxt(QString)") is False
    q.host.refusedConnections.clear()


def test_block_signals(q: SimpleNamespace) -> None:
    box, got = q.qt.QSpinBox(), []
    box.connect("valueChanged(int)", got.append)
    was = box.blockSignals(True)
    box.value = 3
    box.blockSignals(was)
    box.value = 4
    assert (was, got) == (False, [4])


def test_overloads_of_a_stand_in_by_signature(q: SimpleNamespace) -> None:
    from PySide6 import QtCore, QtWidgets

    class Combo(QtWidgets.QWidget):
        currentNodeChanged = QtCore.Signal(object)  # noqa: N815
        valid = QtCore.Signal(bool)

    known = q.gate.hostWidget.__globals__
    before = dict(known["_standIns"]), dict(known["_standInOf"])
    key = ("slicer", "qMRMLCheckableNodeComboBox")
    declared = {"currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged", "currentNodeChanged( bool )": "valid"}
    q.gate.hostWidget(*key, signals=declared)(Combo)
    try:
        real, got = Combo(), []
        proxy = q.gate.wrap(real)
        assert proxy.connect("currentNodeChanged(vtkMRMLNode *)", lambda node: got.append(node))
        assert proxy.connect("currentNodeChanged(bool)", lambda on: got.append(on))
        real.currentNodeChanged.emit("node")
        real.valid.emit(True)
        assert got == ["node", True]
        with pytest.raises(NotImplementedError, match="no signal currentNodeRenamed"):
            proxy.connect("currentNodeRenamed(QString)", print)
        with pytest.raises(NotImplementedError, match="has no nodeTypes yet"):
            _ = proxy.nodeTypes
    finally:
        known["_standIns"].clear(), known["_standInOf"].clear()
        known["_standIns"].update(before[0]), known["_standInOf"].update(before[1])
        q.gate.classOf.cache_clear()
        q.gate._classFor.cache_clear()


# enums


def test_enums_are_ints(q: SimpleNamespace) -> None:
    qt = q.qt
    assert isinstance(qt.Qt.AlignLeft, int) and isinstance(qt.Qt.AlignmentFlag.AlignLeft, int)
    assert qt.Qt.AlignLeft == qt.Qt.AlignmentFlag.AlignLeft == 1
    assert qt.Qt.AlignLeft | qt.Qt.AlignTop == 0x21
    assert (qt.QSizePolicy.Expanding, qt.QProcess.NotRunning) == (7, 0)
    label = qt.QLabel()
    label.alignment = qt.Qt.AlignRight | qt.Qt.AlignVCenter
    assert label.alignment == 0x82 and isinstance(label.alignment, int)
    label.setAlignment(0x84)
    assert label.alignment == qt.Qt.AlignCenter
    label.setSizePolicy(qt.QSizePolicy.Expanding, 0)
    assert label.sizePolicy.horizontalPolicy() == qt.QSizePolicy.Expanding
    item = qt.QTableWidgetItem("x")
    item.setFlags(item.flags() & ~qt.Qt.ItemIsEditable)
    assert not item.flags() & qt.Qt.ItemIsEditable
    item.setData(qt.Qt.UserRole, 12)
    assert item.data(qt.Qt.UserRole) == 12


# the rest of the table


def test_exec_by_both_names(q: SimpleNamespace) -> None:
    qt = q.qt
    for name in ("exec_", "exec"):
        dialog = qt.QDialog()
        qt.QTimer.singleShot(0, dialog.accept)
        assert getattr(dialog, name)() == qt.QDialog.Accepted
    loop = qt.QEventLoop()
    qt.QTimer.singleShot(0, lambda loop=loop: loop.exit(3))
    assert loop.exec_() == 3


def run(q: SimpleNamespace, code: str) -> tuple[Any, list]:
    process, ended, loop = q.qt.QProcess(), [], q.qt.QEventLoop()

    def end(exitCode: int, exitStatus: int) -> None:  # noqa: N803
        ended.append((exitCode, exitStatus))
        loop.quit()

    assert process.connect("finished(int,QProcess::ExitStatus)", end)
    process.start(sys.executable, ["-c", textwrap.dedent(code)])
    loop.exec_()
    return process, ended


def test_process_and_byte_array(q: SimpleNamespace) -> None:
    process, ended = run(q, "import sys; print('héllo'); sys.exit(3)")
    assert ended == [(3, q.qt.QProcess.NormalExit)] and isinstance(ended[0][1], int)
    output = process.readAllStandardOutput()
    assert output.data().decode().strip() == "héllo"
    with pytest.raises(TypeError):
        bytes(output)
    environment = q.qt.QProcessEnvironment.systemEnvironment()
    environment.insert("A", "b")
    process.setProcessEnvironment(environment)
    assert process.processEnvironment().value("A") == "b"


def test_find_child_and_children(q: SimpleNamespace) -> None:
    qt = q.qt
    widget = qt.QWidget()
    inner = qt.QFrame(widget)
    deep, label = qt.QLabel("deep", inner), qt.QLabel("label", widget)
    deep.objectName = "deep"
    assert widget.findChild(qt.QLabel) is label
    assert widget.findChild("QLabel", "deep") is deep
    assert widget.findChildren(qt.QLabel) == (deep, label) and isinstance(widget.findChildren(qt.QLabel), tuple)
    assert widget.findChildren("QFrame") == (inner, deep, label)  # a label is a frame
    assert widget.findChild(qt.QComboBox) is None
    assert widget.children() == (inner, label)
    assert deep.className() == "QLabel" and deep.inherits("QFrame") and not deep.inherits("QPushButton")
    assert not isinstance(deep, qt.QWidget) and isinstance(deep, qt.QLabel)


def test_set_property_and_property(q: SimpleNamespace) -> None:
    button = q.qt.QPushButton()
    button.setProperty("SlicerParameterName", "x")
    assert button.property("SlicerParameterName") == "x" == button.SlicerParameterName
    button.SlicerParameterName = "y"
    assert button.property("SlicerParameterName") == "y"


# what Qt 6 dropped


@pytest.mark.parametrize(
    "name", ["QTextCodec", "QDesktopWidget", "QRegExp", "QRegExpValidator", "QMatrix", "Signal", "QState"]
)
def test_classes_not_in_both_qts_are_refused(q: SimpleNamespace, name: str) -> None:
    with pytest.raises((AttributeError, NotImplementedError)):
        getattr(q.qt, name)


def test_names_not_in_both_qts_are_refused(q: SimpleNamespace) -> None:
    qt = q.qt
    with pytest.raises(AttributeError, match="setContentsMargins"):
        _ = qt.QVBoxLayout().margin
    with pytest.raises(AttributeError, match="margin"):
        qt.QFormLayout().margin = 0
    with pytest.raises(AttributeError, match="setContentsMargins"):
        qt.QHBoxLayout().setMargin(0)
    with pytest.raises(AttributeError, match="horizontalAdvance"):
        qt.QFontMetrics(qt.QFont()).width("x")
    with pytest.raises(AttributeError, match="primaryScreen"):
        qt.QApplication.desktop()
    with pytest.raises(AttributeError, match="lambda"):
        _ = qt.QSignalMapper().mapped
    assert qt.QLabel().margin == 0  # a label's margin is another thing


@pytest.mark.parametrize(
    "widget, signature",
    [
        ("QComboBox", "currentIndexChanged(QString)"),
        ("QComboBox", "activated(const QString &)"),
        ("QButtonGroup", "buttonClicked(int)"),
        ("QSpinBox", "valueChanged(QString)"),
        ("QProcess", "error(QProcess::ProcessError)"),
        ("QCheckBox", "checkStateChanged(Qt::CheckState)"),  # new in Qt 6
    ],
)
def test_signatures_not_in_both_qts_are_refused(q: SimpleNamespace, widget: str, signature: str) -> None:
    assert getattr(q.qt, widget)().connect(signature, print) is False
    q.host.refusedConnections.clear()


def test_the_list_of_dropped_names_is_of_names_that_slicer_had(q: SimpleNamespace) -> None:
    assert [c for c in q.dropped.CLASSES if not q.api.exists("qt", c) and c != "Property"] == []
    assert [(c, n) for c, n in q.dropped.NAMES if n not in q.api.names("qt", c)] == []
