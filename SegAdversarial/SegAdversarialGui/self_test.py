"""The module's self-test, in Slicer and in whatever stands in for it: what a user does, from the sample to the saved scene."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer

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
        self.checkPanel()
        if not self._panel.installer.ready():
            self._say("PyTorch and MONAI are not installed here: the rest of the test was left out.")
            return
        self.checkSample()
        self.checkSegmentation()
        self.checkAttack()
        self.checkCancel()
        self.checkConsole()
        self.checkSavedScene()
        self._say("SegAdversarial: the test passed.")

    def checkPanel(self) -> None:
        """All sections are there, and nothing can be started from nothing."""
        panel = self._panel
        assert len(panel.sections) == 5
        assert not panel.run.segmentButton.enabled and panel.run.segmentButton.toolTip
        assert not panel.run.attackButton.enabled and panel.run.attackButton.toolTip
        assert not panel.run.cancelButton.enabled

    def checkSample(self) -> None:
        """Load sample gives four volumes and a reference, which the panel finds by itself."""
        self._say("Loading the sample")
        self._panel.loadSample()
        self._waitForEnd()
        self._wait(lambda: len(self._panel.images.volumes()) == 4, "the panel found the four volumes")
        assert self._panel.state.reference is not None
        assert self._panel.run.segmentButton.enabled, self._panel.run.segmentButton.toolTip

    def checkSegmentation(self) -> None:
        """Segment adds a segmentation on the volumes' grid."""
        self._say("Segmenting")
        before = _count("vtkMRMLSegmentationNode")
        self._panel.segmentNow()
        self._waitForEnd()
        assert _count("vtkMRMLSegmentationNode") == before + 1

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
        assert self._panel.state.settings.run == nodes.run

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


def _count(className: str) -> int:
    return int(slicer.mrmlScene.GetNumberOfNodesByClass(className))
