"""The module as a whole: its self-test, several sets of choices, reload, closing, translation and size."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gui_helpers import _clean, click, finish, messages, openModule, waitUntil  # noqa: F401  (a fixture)


def observers(node: Any) -> int:
    """How many listen to a node or a scene, as VTK itself tells it."""
    return str(node).count("Observer")


def alive(process: int) -> bool:
    path = Path(f"/proc/{process}/stat")
    return path.exists() and path.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_the_self_test_passes(clean: Any, slicerHost: Any) -> None:
    openModule()
    test = sys.modules["SegAdversarial"].SegAdversarialTest()
    started = time.monotonic()
    test.runTest()
    print(f"the self-test took {time.monotonic() - started:.0f} s")
    assert not messages(), messages()


def test_several_sets_of_choices(clean: Any, slicerHost: Any, tmp_path: Path) -> None:
    import slicer

    from SegAdversarialLib.scene import write_scene

    panel = openModule()
    panel.state.change(attack="pgd")
    first = panel.state.node
    panel.addButton.click()
    second = panel.state.node
    assert second is not first and panel.state.settings.attack == "pgd"
    panel.state.change(attack="fgsm", opacity=0.1)
    panel.parameterNodes.setCurrentNode(first)
    assert panel.state.node is first and panel.attack.methodSelector.currentText == "PGD"
    panel.parameterNodes.setCurrentNode(second)
    assert panel.state.settings.opacity == 0.1
    names = {first.GetName(), second.GetName()}
    path = write_scene(tmp_path / "two.mrb")
    slicer.mrmlScene.Clear(0)
    slicerHost.processEvents(0.1)
    slicer.util.loadScene(str(path))
    slicerHost.processEvents(0.1)
    nodes = [x for x in slicer.mrmlScene.GetNodesByClass("vtkMRMLScriptedModuleNode")]
    ours = [x for x in nodes if x.GetAttribute("ModuleName") == "SegAdversarial"]
    assert {x.GetName() for x in ours} == names, "no third one was left behind"
    assert panel.state.settings.opacity == 0.1, "the one that was shown is shown again"


def test_loading_a_scene_beside_the_one_that_is_there(clean: Any, slicerHost: Any, tmp_path: Path) -> None:
    """Slicer's selectors lose their nodes when a scene is imported; the user's choices stay."""
    import slicer

    panel = openModule()
    click(slicerHost, panel, panel.images.sampleButton)
    waitUntil(slicerHost, lambda: len(panel.images.volumes()) == 4, "the volumes were found")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "another")
    other = slicer.vtkMRMLScene()
    other.AddNewNodeByClass("vtkMRMLTextNode", "from elsewhere")
    path = tmp_path / "other.mrml"
    other.SetURL(str(path))
    assert other.Commit()
    panel.state.change(opacity=0.5)
    node, volumes, reference = panel.state.node, panel.images.volumes(), panel.state.reference
    slicer.mrmlScene.SetURL(str(path))
    slicer.mrmlScene.Import()
    slicerHost.processEvents(0.3)
    assert slicer.util.getNode("from elsewhere") is not None
    assert panel.state.node is node and panel.parameterNodes.currentNode() is node
    assert panel.images.volumes() == volumes and panel.state.reference is reference and reference is not None
    assert panel.images.referenceSelector.currentNode() is reference
    assert not panel.state.node.GetParameter("Emptied")


def test_channels_of_any_name_survive_saving(clean: Any, slicerHost: Any, tmp_path: Path) -> None:
    """MRML writes the roles of references into the file as they are."""
    import slicer

    from SegAdversarialLib.scene import write_scene

    panel = openModule()
    names = ['T1 & "T2"', "a:b;c", "<x>", "T1 post", "Größe", "50 %"]
    for n, name in enumerate(names):
        panel.state.setChannelNode(name, slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"volume {n}"))
    path = write_scene(tmp_path / "names.mrb")
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(path))
    slicerHost.processEvents(0.1)
    assert [panel.state.channelNode(name).GetName() for name in names] == [f"volume {n}" for n in range(len(names))]


def test_removing_the_shown_set_of_choices(clean: Any, slicerHost: Any) -> None:
    import slicer

    panel = openModule()
    panel.addButton.click()
    slicer.mrmlScene.RemoveNode(panel.state.node)
    slicerHost.processEvents(0.1)
    assert panel.state is not None and slicer.mrmlScene.IsNodePresent(panel.state.node)
    slicer.mrmlScene.RemoveNode(panel.state.node)
    slicerHost.processEvents(0.1)
    assert panel.state is not None and slicer.mrmlScene.IsNodePresent(panel.state.node)
    panel.state.change(attack="pgd")
    assert panel.attack.methodSelector.currentText == "PGD"


def test_damaged_settings_in_a_scene(clean: Any, slicerHost: Any) -> None:
    panel = openModule()
    for text in ("{", "[]", '{"opacity": "much"}', '{"attack": 3}', '{"attackSettings": {"pgd": 1}}', '{"attack": "gone"}'):
        panel.state.node.SetParameter("Settings", text)
        slicerHost.processEvents(0.02)
        panel.refresh()
    panel.state.change(attack="fgsm")
    assert panel.attack.methodSelector.currentText == "FGSM" and not messages()


def test_reload_leaves_nothing_behind(clean: Any, slicerHost: Any) -> None:
    import slicer

    panel = openModule()
    # counted from the second time on, so that what Slicer itself adds once does not count
    slicer.modules.SegAdversarialWidget.onReload()
    slicerHost.processEvents(0.1)
    scene, node = slicer.mrmlScene, slicer.modules.SegAdversarialWidget.panel.state.node
    before = observers(scene), observers(node)
    panel = slicer.modules.SegAdversarialWidget.panel
    library = sys.modules["SegAdversarialLib.errors"]
    panel.loadSample()
    waitUntil(slicerHost, lambda: panel.logic.worker.processId, "the worker started")
    process = panel.logic.worker.processId
    slicer.modules.SegAdversarialWidget.onReload()
    slicerHost.processEvents(0.1)
    fresh = slicer.modules.SegAdversarialWidget.panel
    assert fresh is not panel
    assert sys.modules["SegAdversarialLib.errors"] is not library, "the library was loaded anew"
    assert (observers(scene), observers(fresh.state.node)) == before
    waitUntil(slicerHost, lambda: not alive(process), "the old worker ended")
    click(slicerHost, fresh, fresh.images.sampleButton)
    assert len(fresh.images.volumes()) == 4 and not messages()


def test_closing_slicer_ends_the_worker(clean: Any, slicerHost: Any) -> None:
    panel = openModule()
    panel.loadSample()
    waitUntil(slicerHost, lambda: panel.logic.worker.processId, "the worker started")
    process = panel.logic.worker.processId
    clean.quit()
    waitUntil(slicerHost, lambda: not alive(process), "the worker ended")


def test_opening_the_panel_starts_the_worker_and_closing_slicer_ends_it(
    clean: Any, slicerHost: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in the midst of what it imports; a second look at the panel starts no other."""
    import slicer

    monkeypatch.setenv("SEGADVERSARIAL_EARLY_WORKER", "1")
    panel = openModule()
    worker = panel.logic.worker
    assert worker.running
    waitUntil(slicerHost, lambda: worker._leader, "the worker was ready")
    process = worker.processId
    slicer.modules.SegAdversarialWidget.enter()
    assert worker.processId == process and not panel.logic.runner.busy
    clean.quit()
    waitUntil(slicerHost, lambda: not alive(process), "the worker ended")


def test_closing_the_scene_during_an_attack(clean: Any, slicerHost: Any) -> None:
    import slicer

    panel = openModule()
    click(slicerHost, panel, panel.images.sampleButton)
    panel.state.change(attack="pgd")
    panel.state.changeAttack("pgd", {"steps": 1000})
    waitUntil(slicerHost, lambda: panel.run.attackButton.enabled, "an attack could start")
    panel.run.attackButton.click()
    waitUntil(slicerHost, lambda: panel.run.progressBar.value > 0, "the attack was on its way")
    slicer.mrmlScene.Clear(0)
    finish(slicerHost, panel)
    assert not messages(), messages()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    click(slicerHost, panel, panel.images.sampleButton)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 4


def test_removing_an_input_during_an_attack(clean: Any, slicerHost: Any) -> None:
    import slicer

    from SegAdversarialLib.scene import find_results

    panel = openModule()
    click(slicerHost, panel, panel.images.sampleButton)
    waitUntil(slicerHost, lambda: panel.run.attackButton.enabled, "an attack could start")
    panel.run.attackButton.click()
    waitUntil(slicerHost, lambda: panel.run.progressBar.value > 0, "the attack was on its way")
    slicer.mrmlScene.RemoveNode(panel.images.volumes()["T1"])
    finish(slicerHost, panel)
    assert not find_results()
    (message,) = messages()
    assert "T1" in message.text and "removed" in message.text


class Lacking:
    """An installer in a Slicer without torch, until somebody installs it."""

    def __init__(self) -> None:
        self.found = self.installed = False
        self.asked: list[str | None] = []

    def ready(self) -> bool:
        return self.found

    def lookAgain(self) -> None:
        self.found = self.installed

    def install(self, folder: str | None = None) -> bool:
        self.asked.append(folder)
        return False

    def gpuAdvice(self) -> str:
        return ""


def test_without_the_packages(clean: Any, slicerHost: Any) -> None:
    import slicer

    panel = openModule()
    assert not panel.installBox.visible
    panel.installer = installer = Lacking()
    panel.lookForPackages()
    panel.refresh()
    assert panel.installBox.visible and not panel.run.segmentButton.enabled
    assert "Install" in panel.run.segmentButton.toolTip and "Install" in panel.run.attackButton.toolTip
    panel.installButton.click()
    panel.loadSample()
    panel.findDevices()
    assert installer.asked == [None] * 3 and not panel.logic.worker.running
    installer.installed = True
    slicer.modules.SegAdversarialWidget.enter()
    assert not panel.installBox.visible
    click(slicerHost, panel, panel.images.sampleButton)
    waitUntil(slicerHost, lambda: panel.run.segmentButton.enabled, "the network could be asked")


_NO_WORDS = re.compile(r"^[\W\d_]*$")


def visibleTexts(widget: Any) -> Iterator[tuple[str, str]]:
    """Every text that a widget and its children show: where, and what."""
    from PySide6 import QtWidgets

    for child in [widget, *widget.findChildren(QtWidgets.QWidget)]:
        name = f"{child.objectName() or type(child).__name__}"
        if child.toolTip():
            yield f"{name}.toolTip", child.toolTip()
        if isinstance(child, (QtWidgets.QLabel, QtWidgets.QAbstractButton)) and child.text():
            yield f"{name}.text", child.text()
        if isinstance(child, QtWidgets.QGroupBox) and child.title():
            yield f"{name}.title", child.title()
        if isinstance(child, QtWidgets.QLineEdit) and child.placeholderText():
            yield f"{name}.placeholderText", child.placeholderText()
        if isinstance(child, (QtWidgets.QAbstractSpinBox,)) and child.specialValueText():
            yield f"{name}.specialValueText", child.specialValueText()
        if isinstance(child, QtWidgets.QComboBox):
            for n in range(child.count()):
                yield f"{name}.item", child.itemText(n)


def test_no_text_is_left_out_of_translation(clean: Any, slicerHost: Any) -> None:
    """With a language in which every text is in brackets, what stands without brackets is data."""
    from host import gate, i18n

    i18n.pseudo = True
    panel = openModule()
    click(slicerHost, panel, panel.images.sampleButton)
    waitUntil(slicerHost, lambda: panel.run.attackButton.enabled, "an attack could start")
    click(slicerHost, panel, panel.run.segmentButton)
    panel.state.change(attack="ifgsm")
    panel.state.changeAttack("ifgsm", {"steps": 2, "snapshot_every": 1})
    click(slicerHost, panel, panel.run.attackButton)
    data = {"SegAdversarial", "T1", "T1ce", "T2", "FLAIR", "None", ""}
    import slicer

    data |= {slicer.mrmlScene.GetNthNode(n).GetName() for n in range(slicer.mrmlScene.GetNumberOfNodes())}
    named_after_nodes = ("qt_", "DeviceRow", "runSelector", "chartSelector.item")
    bare = [
        (where, text)
        for section in panel.sections
        for where, text in visibleTexts(gate.realOf(section.widget))
        if "⟦" not in text and text not in data and not _NO_WORDS.match(text) and not where.startswith(named_after_nodes)
    ]
    assert not bare, "\n".join(f"{where}: {text!r}" for where, text in bare)


def test_the_panel_fits_into_400_pixels(clean: Any, slicerHost: Any) -> None:
    panel = openModule()
    click(slicerHost, panel, panel.images.sampleButton)
    waitUntil(slicerHost, lambda: panel.run.attackButton.enabled, "an attack could start")
    click(slicerHost, panel, panel.run.attackButton)
    from SegAdversarialLib.attacks import ATTACKS

    for name in ATTACKS:
        panel.state.change(attack=name)
        slicerHost.processEvents(0.02)
        assert clean.window().panel.neededWidth() <= 380, name


def test_every_widget_can_be_named_and_reached(clean: Any, slicerHost: Any) -> None:
    """Object names are there and unique, labels have buddies, and the keyboard goes from top to bottom."""
    from host import gate
    from PySide6 import QtWidgets

    panel = openModule()
    kinds = tuple(getattr(QtWidgets, x) for x in ("QAbstractButton", "QComboBox", "QLineEdit", "QAbstractSpinBox", "QSlider"))
    names: list[str] = []
    for section in panel.sections:
        real = gate.realOf(section.widget)
        for child in real.findChildren(QtWidgets.QWidget):
            if isinstance(child, kinds) and not _partOfAnother(child, real):
                assert child.objectName(), f"a {type(child).__name__} in {section.widget.objectName} has no name"
                assert child.toolTip(), f"{child.objectName()} has no tool tip"
                names.append(child.objectName())
            if isinstance(child, QtWidgets.QLabel) and child.objectName().endswith("Label"):
                assert child.buddy() is not None, child.objectName()
    assert len(set(names)) == len(names), sorted(x for x in names if names.count(x) > 1)


def _partOfAnother(child: Any, top: Any) -> bool:
    """Whether a widget is a part of a composed one (the line of a spin box, the combo of a node selector)."""
    from PySide6 import QtWidgets

    parent = child.parentWidget()
    while parent is not None and parent is not top:
        composed = isinstance(parent, (QtWidgets.QAbstractSpinBox, QtWidgets.QComboBox, QtWidgets.QAbstractItemView))
        if composed or type(parent).__module__.startswith("host."):
            names = ("CollapsibleButton", "CollapsibleGroupBox")
            if composed or not any(x in type(parent).__name__ for x in names):
                return True
        parent = parent.parentWidget()
    return False
