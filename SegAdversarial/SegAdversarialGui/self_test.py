"""The module's self-test, in Slicer and in whatever stands in for it: what a user does, from the sample to the saved scene."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer

from SegAdversarialGui import layout
from SegAdversarialGui.result_nodes import ROLE, largestSection

_FAR = 30.0
"""Millimetres by which a view is moved away."""

_PATIENCE = 150.0
"""Seconds after which something that should have happened has not."""


class SelfTest:
    """Drives the real panel with the real worker, and checks what comes of it.

    Args:
        say: shows a line to whoever watches.
        makeLogic: makes the module's logic.
    """

    def __init__(self, say: Callable[[str], None], makeLogic: Callable[[], Any]) -> None:
        self._say, self._makeLogic = say, makeLogic

    def run(self) -> None:
        """All of it.

        Raises:
            AssertionError: something is not as it should be.
        """
        slicer.util.selectModule("SegAdversarial")
        self._panel = slicer.modules.segadversarial.widgetRepresentation().self().panel
        self._views = slicer.app.layoutManager() is not None
        self.checkPanel()
        if not self._panel.installer.ready():
            self._say("PyTorch and MONAI are not installed here: the rest of the test was left out.")
            return
        self.checkSample()
        self.checkSegmentation()
        self.checkAttack()
        self.checkLegend()
        self.checkOwnReference()
        self.checkAnotherPanel()
        self.checkCancel()
        self.checkConsole()
        self.checkSavedScene()
        self._say("SegAdversarial: the test passed.")

    def checkPanel(self) -> None:
        """All sections are there, and nothing can be started from nothing."""
        panel = self._panel
        assert len(panel.sections) == 7
        assert not panel.run.segmentButton.enabled and panel.run.segmentButton.toolTip
        assert not panel.run.attackButton.enabled and panel.run.attackButton.toolTip
        assert not panel.run.cancelButton.enabled

    def checkSample(self) -> None:
        """Load sample gives four volumes and a reference, which the panel finds by itself."""
        self._say("Loading the sample")
        self._panel.loadSample()
        self._waitForEnd()
        self._wait(lambda: len(self._panel.images.volumes()) == 4, "the panel found the four volumes")
        self._wait(lambda: self._panel.state.reference is not None, "the panel found the reference")
        assert self._panel.run.segmentButton.enabled, self._panel.run.segmentButton.toolTip

    def checkSegmentation(self) -> None:
        """Segment adds a segmentation on the volumes' grid, and the views go to where most is labelled."""
        self._say("Segmenting")
        before = _count("vtkMRMLSegmentationNode")
        view = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode() if self._views else None
        if view is not None:
            view.SetSliceOffset(view.GetSliceOffset() + _FAR)
        self._panel.segmentNow()
        self._waitForEnd()
        assert _count("vtkMRMLSegmentationNode") == before + 1
        if view is not None:
            (made,) = [x for x in _nodes("vtkMRMLSegmentationNode") if x.GetAttribute(ROLE) == "segmentation"]
            where = largestSection(made)
            assert where is not None
            self._wait(lambda: abs(view.GetSliceOffset() - where[2]) < 1, f"the view went to {where}")

    def checkAttack(self) -> None:
        """FGSM adds everything that belongs to a result, and leaves the input as it was."""
        self._say("Attacking")
        volume = self._panel.images.volumes()["T1"]
        before = slicer.util.arrayFromVolume(volume).copy()
        self._panel.state.change(attack="fgsm")
        self._panel.attackNow()
        self._waitForEnd()
        (nodes,) = [x for x in _results() if "FGSM" in x.summary]
        after = slicer.util.arrayFromVolume(nodes.adversarial["T1"])
        assert (slicer.util.arrayFromVolume(volume) == before).all()
        largest = float(abs(before).max())
        change = float(abs(after.astype(float) - before.astype(float)).max())
        assert 0 < change <= 0.05 * largest * (1 + 1e-5), f"{change} of {largest}"
        assert nodes.clean is not None and nodes.attacked is not None and nodes.metrics.GetNumberOfRows() > 0
        self._wait(lambda: self._panel.state.settings.run == nodes.run, "the result was chosen")

    def checkLegend(self) -> None:
        """The difference has its scale of colours, also in views that have just been made."""
        if self._views:
            self._wait(lambda: _drawsLegend(layout.DIFFERENCE), "the legend of the difference was drawn")

    def checkOwnReference(self) -> None:
        """A segmentation of the user's own does not cover the answers, and comes back afterwards."""
        if not self._views:
            return
        self._say("Attacking with a reference of one's own")
        given = self._panel.state.reference
        own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "my own reference")
        own.CreateDefaultDisplayNodes()
        own.GetSegmentation().DeepCopy(given.GetSegmentation())
        own.SetReferenceImageGeometryParameterFromVolumeNode(self._panel.images.volumes()["T1"])
        self._panel.state.reference = own
        self._panel.state.change(attack="uniform-noise")
        self._panel.attackNow()
        self._waitForEnd()
        self._wait(lambda: not own.GetDisplayNode().GetVisibility(), "it did not cover the answers any more")
        self._panel.state.reference = given
        self._wait(lambda: own.GetDisplayNode().GetVisibility(), "it was shown again")
        slicer.mrmlScene.RemoveNode(own)

    def checkAnotherPanel(self) -> None:
        """A panel that is opened in a scene with results shows them at once, and leaves the first one its worker."""
        module, before = slicer.modules.segadversarial, slicer.modules.SegAdversarialWidget
        widget = module.createNewWidgetRepresentation()
        another = widget.self()
        try:
            assert another.panel.results.runs.count == self._panel.results.runs.count > 0
            assert another.panel.state.node is self._panel.state.node
        finally:
            another.cleanup()
            widget.deleteLater()
            slicer.modules.SegAdversarialWidget = before
        assert self._panel.logic.worker.running

    def checkCancel(self) -> None:
        """A cancelled attack leaves the scene as it was, and the worker is there for the next one."""
        self._say("Cancelling")
        before = slicer.mrmlScene.GetNumberOfNodes()
        self._panel.state.change(attack="pgd")
        self._panel.state.changeAttack("pgd", {"steps": 1000})
        self._panel.attackNow()
        self._wait(lambda: self._panel.run.progressBar.value > 0, "the attack was on its way")
        self._panel.cancel()
        self._waitForEnd()
        assert slicer.mrmlScene.GetNumberOfNodes() == before
        self._panel.state.changeAttack("pgd", {})

    def checkConsole(self) -> None:
        """The same from the Python console."""
        self._say("Attacking from the console")
        volumes = self._panel.images.volumes()
        logic = self._makeLogic()
        nodes = logic.attack(volumes, attack={"attack": "uniform-noise", "channels": ["FLAIR"]})
        assert list(nodes.adversarial) == ["FLAIR"]

    def checkSavedScene(self) -> None:
        """A saved scene brings back the choices and the results."""
        self._say("Saving and loading")
        from SegAdversarialLib.scene import write_scene

        runs = [x.run for x in _results()]
        self._panel.state.change(opacity=0.25)
        with tempfile.TemporaryDirectory() as folder:
            path = write_scene(Path(folder) / "test.mrb")
            slicer.mrmlScene.Clear()
            assert not _results()
            slicer.util.loadScene(str(path))
        assert [x.run for x in _results()] == runs
        assert self._panel.state is not None and self._panel.state.settings.opacity == 0.25
        assert len(self._panel.images.volumes()) == 4

    def _waitForEnd(self) -> None:
        self._wait(lambda: not self._panel.logic.runner.busy, "the work ended")

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + _PATIENCE
        while not condition():
            slicer.app.processEvents()
            time.sleep(0.005)
            assert time.monotonic() < until, f"In {_PATIENCE:g} seconds it has not come that far that {what}."


def _results() -> list[Any]:
    from SegAdversarialLib.scene import find_results

    return list(find_results())


def _nodes(className: str) -> list[Any]:
    return layout.nodesOfClass(slicer.mrmlScene, className)


def _drawsLegend(tag: str) -> bool:
    """Whether a slice view is there already, and has a scale of colours among what it draws."""
    widget = slicer.app.layoutManager().sliceWidget(tag)
    if widget is None:
        return False
    renderers = widget.sliceView().renderWindow().GetRenderers()
    for renderer in (renderers.GetItemAsObject(n) for n in range(renderers.GetNumberOfItems())):
        drawn = renderer.GetViewProps()
        props = [drawn.GetItemAsObject(n) for n in range(drawn.GetNumberOfItems())]
        if any(x.IsA("vtkScalarBarActor") and x.GetVisibility() for x in props):
            return True
    return False


def _count(className: str) -> int:
    return int(slicer.mrmlScene.GetNumberOfNodesByClass(className))
