"""The Images section on a scene of its own, as a test drives it."""

from __future__ import annotations

from typing import Any

import numpy as np
from gui_helpers import settle

BRATS = ("T1", "T1ce", "T2", "FLAIR")


class Stage:
    """An Images section, alone in a narrow window, on a real parameter node."""

    def __init__(self, channels: tuple[str, ...] | None = BRATS) -> None:
        import qt
        import slicer
        from SegAdversarialGui.images_section import ImagesSection

        self.scene = slicer.mrmlScene
        self.samples = 0
        self.looks = 0
        self.section = ImagesSection(self._sample)
        self.section.onChanged = self._changed
        self.window = qt.QWidget()
        layout = qt.QVBoxLayout(self.window)
        layout.addWidget(self.section.widget)
        layout.addStretch(1)
        self.section.setScene(self.scene)
        self.state = self.addState()
        self.section.setState(self.state)
        self.network(channels)
        self.window.show()
        settle()

    def addState(self) -> Any:
        from SegAdversarialGui.state import State

        node = self.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
        node.AddObserver("ModifiedEvent", lambda *_: self.section.refresh())
        return State(node)

    def network(self, channels: tuple[str, ...] | None) -> None:
        self.section.setNetwork(None if channels is None else network(channels))

    def volume(self, name: str, **options: Any) -> Any:
        return add_volume(self.scene, name, **options)

    def chosen(self) -> dict[str, str]:
        settle()
        return {channel: node.GetName() for channel, node in self.section.volumes().items()}

    def find(self, name: str) -> Any:
        import qt

        found = self.section.widget.findChildren(qt.QWidget, name)
        assert len(found) == 1, (name, found)
        return found[0]

    def selector(self, channel: str) -> Any:
        return self.section._selectors[channel]

    def visible(self, widget: Any) -> bool:
        return bool(widget.isVisibleTo(self.window))

    def _sample(self) -> None:
        self.samples += 1

    def _changed(self) -> None:
        self.looks += 1


def network(channels: tuple[str, ...]) -> Any:
    from SegAdversarialGui.catalog import NetworkEntry

    return NetworkEntry("toy", channels, ((0, "background"), (1, "core")), "softmax", "voxels", 1, False, "")


def add_volume(scene: Any, name: str, *, shape: tuple[int, ...] | None = (4, 6, 5), kind: str = "Scalar", **place: Any) -> Any:
    import slicer.util

    node = scene.AddNewNodeByClass(f"vtkMRML{kind}VolumeNode", name)
    if shape:
        slicer.util.updateVolumeFromArray(node, np.ones(shape, np.int16))
    if "spacing" in place:
        node.SetSpacing(*place["spacing"])
    if "origin" in place:
        node.SetOrigin(*place["origin"])
    return node


def add_segmentation(scene: Any, name: str, *segments: str) -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    for segment in segments:
        node.GetSegmentation().AddEmptySegment(segment, segment)
    return node
