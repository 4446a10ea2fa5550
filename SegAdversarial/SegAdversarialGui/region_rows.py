"""The rows of the panel that say where the images may be attacked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from SegAdversarialGui import widgets
from SegAdversarialGui.choices import oneChange
from SegAdversarialGui.state import REGIONS

_NODE_TYPES = ["vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode", "vtkMRMLMarkupsROINode"]


class RegionRows(VTKObservationMixin):
    """Chooses the region: everywhere, voxels above 0, the reference's labelled voxels, or a node and its segment.

    Args:
        form: the layout that gets the rows.
        changed: called when the chosen segmentation got, lost or renamed a segment.

    Attributes:
        leaving: the region's node is being removed from the scene, so that what its selector shows is no user's choice.
    """

    def __init__(self, form: Any, changed: Callable[[], None]) -> None:
        VTKObservationMixin.__init__(self)
        self._changed = changed
        self.leaving = False
        self._state: Any = None
        self._observed: Any = None
        self._form = form
        self.regionCombo = widgets.combo()
        for text, kind in zip(_regionTexts(), REGIONS):
            self.regionCombo.addItem(text, kind)
        widgets.row(
            form,
            _("Region"),
            self.regionCombo,
            "regionCombo",
            _("Where the attack may change the images; what of a large image it cannot reach is not asked again"),
        )
        self.nodeSelector = nodeSelector(_NODE_TYPES)
        widgets.row(
            form,
            _("Region from"),
            self.nodeSelector,
            "regionNodeSelector",
            _("The segmentation, label map or box (markups ROI) inside which the attack may change the images"),
        )
        self.segmentCombo = widgets.combo()
        widgets.row(form, _("Segment"), self.segmentCombo, "regionSegmentCombo", _("The segment that is the region, or all"))
        self.regionCombo.connect("currentIndexChanged(int)", self._onRegion)
        self.nodeSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._onNode)
        self.segmentCombo.connect("currentIndexChanged(int)", self._onSegment)

    def setScene(self, scene: Any) -> None:
        """Offer the nodes of a scene; None: no nodes."""
        with widgets.blocked(self.nodeSelector):
            self.nodeSelector.setMRMLScene(scene)

    def setState(self, state: Any) -> None:
        """Show another parameter node; None: none."""
        self._state, self.leaving = state, False
        self.refresh()

    def refresh(self) -> None:
        """Show the state."""
        settings = self._state.settings if self._state is not None else None
        region = settings.region if settings is not None else ""
        node = self._state.region if self._state is not None else None
        fromNode = region == "node"
        segmented = fromNode and node is not None and node.IsA("vtkMRMLSegmentationNode")
        with widgets.blocked(self.regionCombo):
            self.regionCombo.setCurrentIndex(REGIONS.index(region))
        with widgets.blocked(self.nodeSelector):
            self.nodeSelector.setCurrentNode(node)
        widgets.shown(self.nodeSelector, self._form, fromNode)
        widgets.shown(self.segmentCombo, self._form, segmented)
        self._observe(node if segmented else None)
        chosen = settings.regionSegment if settings is not None else ""
        widgets.fillCombo(self.segmentCombo, _segmentsOf(node if segmented else None), chosen)

    def problems(self) -> list[str]:
        """What is missing before the region can be used, as sentences."""
        if self._state is None:
            return []
        region, node = self._state.settings.region, self._state.region
        if region == "reference" and self._state.reference is None:
            return [_("The region is the reference's labelled voxels: choose a reference, or another region.")]
        if region != "node":
            return []
        if node is None:
            return [_("Choose a segmentation, label map or box for the region, or another region.")]
        if not node.IsA("vtkMRMLSegmentationNode"):
            return []
        segmentation = node.GetSegmentation()
        if segmentation.GetNumberOfSegments() == 0:
            return [_("{name} has no segment to be the region; choose another segmentation.").format(name=node.GetName())]
        segment = self._state.settings.regionSegment
        if segment and segmentation.GetSegment(segment) is None:
            return [_("Choose the segment of {name} that is the region.").format(name=node.GetName())]
        return []

    def tabOrder(self) -> list[Any]:
        """The widgets that take the keyboard, in reading order."""
        return [self.regionCombo, self.nodeSelector, self.segmentCombo]

    def _observe(self, node: Any) -> None:
        if node is self._observed:
            return
        self.removeObservers(self._onSegments)
        self._observed = node
        if node is not None:
            events = slicer.vtkSegmentation
            for event in (events.SegmentAdded, events.SegmentRemoved, events.SegmentModified, events.SegmentsOrderModified):
                self.addObserver(node, event, self._onSegments)

    def _onSegments(self, _caller: Any = None, _event: Any = None) -> None:
        self._changed()

    def _onRegion(self, index: int) -> None:
        if self._state is not None and index >= 0:
            self._state.change(region=REGIONS[index])

    def _onNode(self, node: Any) -> None:
        """Another segmentation starts with all its segments, unless it has the chosen one too."""
        if self._state is None or self.leaving:
            return
        there = [identifier for _name, identifier in _segmentsOf(node)]
        with oneChange(self._state):
            if node is not None and self._state.settings.regionSegment not in there:
                self._state.change(regionSegment="")
            self._state.region = node

    def _onSegment(self, index: int) -> None:
        if self._state is not None and index >= 0:
            self._state.change(regionSegment=self.segmentCombo.itemData(index))


def nodeSelector(nodeTypes: list[str]) -> Any:
    """A selector of existing nodes of exactly these classes, or of none."""
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = nodeTypes
    selector.showChildNodeTypes = False
    selector.noneEnabled = True
    selector.addEnabled = False
    selector.removeEnabled = False
    # of the box inside: the selector's own property is of another class's enumeration, which PythonQt may not know
    widgets.narrow(selector.findChild(qt.QComboBox))
    return selector


def _regionTexts() -> list[str]:
    return [
        _("Everywhere"),
        _("Voxels above 0"),
        _("Labelled voxels of the reference"),
        _("Segment, label map or box..."),
    ]


def _segmentsOf(node: Any) -> list[tuple[str, str]]:
    """What can be chosen, in words and as an identifier; nothing where the node is no segmentation."""
    if node is None or not node.IsA("vtkMRMLSegmentationNode"):
        return []
    segmentation = node.GetSegmentation()
    identifiers = [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]
    segments = [(segmentation.GetSegment(identifier).GetName(), identifier) for identifier in identifiers]
    return [(_("All segments"), ""), *segments]
