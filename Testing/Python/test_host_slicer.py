"""The Slicer half of the test host: the application, scripted modules, dialogs and translation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from host_helpers import _parts, _scene, pixels, volume  # noqa: F401  (fixtures)

from SegAdversarialLib.errors import InputError

MODULE = """
import qt, ctk, slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin

calls = []


class Probe(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Probe of the host")
        self.parent.categories = ["Testing"]
        self.parent.contributors = ["Somebody"]


class ProbeWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        calls.append("setup")
        self.logic = ProbeLogic()
        self.button = qt.QPushButton(_("Press {n} times").format(n=3))
        self.button.objectName = "pressButton"
        self.button.connect("clicked(bool)", self.onPressed)
        self.layout.addWidget(self.button)
        self.layout.addStretch(1)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onClosed)

    def onPressed(self):
        self.logic.getParameterNode().SetParameter("pressed", "yes")

    def onClosed(self, caller, event):
        calls.append("closed")

    def enter(self):
        calls.append("enter")

    def exit(self):
        calls.append("exit")

    def cleanup(self):
        self.removeObservers()
        calls.append("cleanup")


class ProbeLogic(ScriptedLoadableModuleLogic):
    pass


class ProbeTest(ScriptedLoadableModuleTest):
    def runTest(self):
        self.delayDisplay("looking")
        self.assertEqual(slicer.util.getModuleWidget("Probe").button.text, "Press 3 times")
        calls.append("tested")
"""


@pytest.fixture(name="probe")
def _probe(parts: Any, tmp_path: Path) -> Any:
    """A small scripted module, loaded."""
    file = tmp_path / "Probe.py"
    file.write_text(MODULE, encoding="utf-8")
    return parts.loadModule(file)


def test_the_application_is_slicers(parts: Any) -> None:
    import slicer

    assert slicer.app.mrmlScene() is slicer.mrmlScene
    assert slicer.app.applicationName == "Slicer" and (slicer.app.majorVersion, slicer.app.minorVersion) == (5, 12)
    assert Path(slicer.app.temporaryPath).is_dir() and Path(slicer.util.tempDirectory()).is_dir()
    assert slicer.app.applicationLogic().GetMRMLScene() is slicer.mrmlScene
    assert slicer.app.commandOptions().noMainWindow is False
    assert slicer.util.mainWindow().objectName == "qSlicerMainWindow"
    assert "PATH" in slicer.util.startupEnvironment()
    assert slicer.modules.volumes.logic().IsA("vtkSlicerVolumesLogic")
    with pytest.raises(AttributeError):
        slicer.app.slicerHom  # noqa: B018
    with pytest.raises(NotImplementedError, match="qMRMLTreeView"):
        slicer.qMRMLTreeView  # noqa: B018
    with pytest.raises(AttributeError):
        slicer.vtkMRMLNoSuchNode  # noqa: B018


def test_without_the_host_the_process_counts_as_headless(parts: Any, slicerHost: Any) -> None:
    import slicer

    from SegAdversarialLib.scene.application import check_headless

    with pytest.raises(InputError):
        check_headless()
    scene = slicer.mrmlScene
    slicerHost.stop()
    check_headless()
    assert not hasattr(slicer, "modules") and slicer.mrmlScene is scene
    slicerHost.start()
    assert slicer.app.mrmlScene() is scene and slicer.app.layoutManager().sliceWidget("Red").visible


def test_a_module_is_loaded_entered_left_and_unloaded(parts: Any, probe: Any) -> None:
    import slicer

    assert slicer.modules.probe is probe and probe.title == "Probe of the host" and probe.name == "Probe"
    assert slicer.modules.ProbeInstance.moduleName == "Probe" and not hasattr(slicer.modules, "ProbeWidget")
    widget = parts.moduleWidget("Probe")
    calls = sys.modules["Probe"].calls
    assert calls == ["setup", "enter"] and slicer.modules.ProbeWidget is widget
    assert slicer.util.selectedModule() == "Probe" and slicer.util.modulePath("Probe") == probe.path
    assert widget.resourcePath("a.txt") == str(Path(probe.path).parent / "Resources" / "a.txt")
    widget.button.click()
    assert widget.logic.getParameterNode().GetParameter("pressed") == "yes"
    assert slicer.util.findChild(widget.parent, "pressButton") == widget.button
    parts.quit()
    assert calls[2:] == ["exit", "cleanup"]
    assert not hasattr(slicer.modules, "probe") and "Probe" not in sys.modules


def test_a_reloaded_module_has_its_new_code_and_one_panel(parts: Any, probe: Any) -> None:
    import slicer

    old = parts.moduleWidget("Probe")
    calls = sys.modules["Probe"].calls
    file = Path(probe.path)
    file.write_text(file.read_text(encoding="utf-8").replace("Press {n} times", "Hit {n} times"), encoding="utf-8")
    slicer.util.reloadScriptedModule("Probe")
    new = slicer.util.getModuleWidget("Probe")
    assert new is not old and new.button.text == "Hit 3 times" and calls[-1] == "cleanup"
    slicer.mrmlScene.Clear(0)
    assert "closed" not in calls and sys.modules["Probe"].calls == ["setup", "closed"]


def test_the_self_test_runs(parts: Any, probe: Any) -> None:
    import slicer

    parts.moduleWidget("Probe")
    slicer.selfTests["Probe"](msec=1)
    assert sys.modules["Probe"].calls[-1] == "tested"


def test_an_error_in_an_observer_is_noticed(scene: Any, slicerHost: Any) -> None:
    def fail(caller: Any, event: str) -> None:
        raise KeyError("in an observer")

    node = volume()
    tag = node.AddObserver("ModifiedEvent", fail)
    node.Modified()
    node.RemoveObserver(tag)
    assert isinstance(slicerHost.slotErrors.pop(), KeyError)


def test_developers_can_reload_from_the_panel(parts: Any, probe: Any) -> None:
    import qt
    import slicer

    qt.QSettings().setValue("Developer/DeveloperMode", True)
    widget = parts.moduleWidget("Probe")
    widget.reloadButton.click()
    assert slicer.modules.ProbeWidget is not widget


def test_parameter_nodes_are_one_or_many(scene: Any) -> None:
    from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

    class ThingLogic(ScriptedLoadableModuleLogic):
        pass

    logic = ThingLogic()
    node = logic.getParameterNode()
    assert node is logic.getParameterNode() and node.GetSingletonTag() == "Thing"
    assert node.GetAttribute("ModuleName") == "Thing"
    assert logic.getAllParameterNodes() == [node]
    logic.isSingletonParameterNode = False
    other = scene.AddNode(logic.createParameterNode())
    assert other is not node and logic.getAllParameterNodes() == [node, other]
    scene.Clear(0)
    assert logic.getAllParameterNodes() in ([], [node])


def test_translation_can_be_made_visible(parts: Any, probe: Any) -> None:
    from host import i18n

    i18n.pseudo = True
    assert parts.moduleWidget("Probe").button.text == "⟦Press 3 times⟧"
    from slicer.i18n import tr

    assert tr("A {n}").format(n=1) == "⟦A 1⟧"
    with pytest.raises(TypeError):
        tr(None)


def test_message_boxes_are_written_down_and_answered(parts: Any) -> None:
    import slicer
    from host.slicer_dialogs import answers, dialogs

    slicer.util.errorDisplay("It broke.", detailedText="a trace")
    slicer.util.infoDisplay("All well.")
    assert [(x.kind, x.text) for x in dialogs] == [("error", "It broke."), ("info", "All well.")]
    assert dialogs[0].detailedText == "a trace" and all(x.answered for x in dialogs)
    answers.extend([True, False])
    assert slicer.util.confirmOkCancelDisplay("Go on?") and not slicer.util.confirmYesNoDisplay("Delete?")
    assert all(x.answered for x in dialogs)
    assert not slicer.util.confirmYesNoDisplay("And this?")
    assert not dialogs[-1].answered and dialogs[-1].kind == "question"
    with pytest.raises(ZeroDivisionError), slicer.util.tryWithErrorDisplay("Failed."):
        1 / 0  # noqa: B018
    assert dialogs[-1].text.startswith("Failed.") and "ZeroDivisionError" in dialogs[-1].detailedText


def test_installing_is_only_written_down(parts: Any) -> None:
    import slicer
    from host.slicer_dialogs import pipCalls

    slicer.util.pip_install("nothing==0")
    assert not hasattr(slicer, "packaging")
    parts.packaging(True)
    slicer.packaging.pip_ensure(["a>=1", "b"], requester="Probe")
    assert [x.requirements for x in pipCalls] == ["nothing==0", ["a>=1", "b"]]
    assert pipCalls[1].options == {"requester": "Probe"}


def test_the_panel_is_grabbed_in_its_full_height(parts: Any, probe: Any, tmp_path: Path) -> None:
    widget = parts.moduleWidget("Probe")
    image = pixels(parts.window().grabPanel(tmp_path / "panel.png", width=400))
    assert image.shape[1] == 400
    assert parts.window().panel.neededWidth() < 400 and widget.button.visible
