"""Driving the real panel in the host, as a user would."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

MODULE = Path(__file__).resolve().parents[2] / "SegAdversarial" / "SegAdversarial.py"
PATIENCE = 120


def openModule() -> Any:
    """Load the module as Slicer does at its start, select it, and return its panel."""
    from host import slicer_module

    slicer_module.loadModule(MODULE)
    return slicer_module.moduleWidget("SegAdversarial").panel


@pytest.fixture(name="clean")
def _clean(slicerHost: Any) -> Iterator[Any]:
    """The host with nothing in it before and after, and the library as it was: a reload loads it anew."""
    from host import slicer_module

    slicer_module.reset()
    before = _ours()
    yield slicer_module
    slicer_module.reset()
    for name in _ours():
        del sys.modules[name]
    sys.modules.update(before)


def _ours() -> dict[str, Any]:
    names = ("SegAdversarial", "SegAdversarialGui", "SegAdversarialLib")
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] in names}


@pytest.fixture(name="panel", scope="module")
def _panel(slicerHost: Any) -> Iterator[Any]:
    """The panel with the sample subject, ready for an attack."""
    from host import slicer_module

    panel = openModule()
    click(slicerHost, panel, panel.images.sampleButton)
    waitUntil(slicerHost, lambda: panel.run.attackButton.enabled, "an attack could start")
    yield panel
    slicer_module.reset()


def putAway(stage: Any) -> None:
    """What a test of one section leaves: no section that listens, an empty scene, and no trust."""
    from SegAdversarialGui import trust

    trust.forgetAll()
    stage.section.setState(None)
    stage.section.setScene(None)
    stage.window.hide()
    stage.scene.Clear(0)


def settle() -> None:
    """Let Qt work off what it has to do."""
    import slicer

    for _ in range(3):
        slicer.app.processEvents()


def waitUntil(host: Any, condition: Callable[[], Any], what: str) -> None:
    """Let Qt work until something is so."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"it never came that {what}"
        host.processEvents(0.01)


def finish(host: Any, panel: Any) -> None:
    """Let Qt work until what runs has ended and is shown, and a moment longer."""
    waitUntil(host, lambda: not panel.logic.runner.busy, "the work ended")
    waitUntil(host, lambda: not panel.showing, "it was shown")
    host.processEvents(0.1)


def click(host: Any, panel: Any, button: Any) -> None:
    """Press a button that works, and wait for what it starts."""
    assert button.enabled, button.toolTip
    button.click()
    finish(host, panel)


def sceneState() -> tuple[Any, ...]:
    """What must not change: the nodes with their modification times, and the subject hierarchy."""
    import slicer
    import vtk

    scene = slicer.mrmlScene
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    items = vtk.vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
    nodes = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]
    kept = [x for x in nodes if x.IsA("vtkMRMLStorableNode") and x.GetSaveWithScene()]
    return tuple(x.GetID() for x in nodes), tuple(x.GetMTime() for x in kept), items.GetNumberOfIds()


def messages() -> list[Any]:
    """The message boxes that were shown."""
    from host import slicer_dialogs

    return slicer_dialogs.dialogs
