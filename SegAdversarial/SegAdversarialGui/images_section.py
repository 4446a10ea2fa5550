"""The panel's Images section: a volume for each channel, the reference, and the region."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from SegAdversarialGui import grids, widgets
from SegAdversarialGui.choices import emptied, guessVolumes, oneChange, setEmptied
from SegAdversarialGui.own_reference import guessReference
from SegAdversarialGui.region_rows import RegionRows, nodeSelector
from SegAdversarialGui.segment_rows import SegmentRows
from SegAdversarialGui.state import CHANNEL_ROLE, REFERENCE_ROLE
from SegAdversarialGui.wrapping import breakable, shortened

_VOLUMES = ["vtkMRMLScalarVolumeNode"]
_LABELS = ["vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode"]
_FIRST_CHANNEL_ROW = 1
_LONGEST_LABEL = 16
_FIRST = 1000.0
_LATER = 100
"""Milliseconds after which a scene that is being loaded is looked at again."""


class ImagesSection(VTKObservationMixin):
    """Chooses what is segmented and attacked.

    Channels without a volume get one by its name as soon as there is one that fits, unless the user has set them to none.

    Args:
        loadSample: called when the user asks for the synthetic subject.

    Attributes:
        widget: the collapsible box.
        onChanged: called when `problems()` or `regionProblems()` may have changed although the state has not.
    """

    def __init__(self, loadSample: Callable[[], None]) -> None:
        VTKObservationMixin.__init__(self)
        self._state: Any = None
        self._scene: Any = None
        self._channels: tuple[str, ...] = ()
        self._lastChosen = ""
        self._leaving: set[str] = set()
        self._selectors: dict[str, Any] = {}
        self._observed: list[Any] = []
        self.onChanged: Callable[[], None] = lambda: None
        self.widget, self._form = widgets.section(_("Images"), "imagesSection")
        self._makeButtons(loadSample)
        self._makeReference()
        self._segments = SegmentRows(self._form, self._look)
        self._region = RegionRows(self._form, self._look)
        self.gridNote = widgets.note("gridNote")
        self.hintNote = widgets.note("imagesHintNote", italic=True)
        self.problemNote = widgets.note("imagesProblemNote", problem=True)
        self._form.addRow(self.gridNote)
        self._form.addRow(self.hintNote)
        self._form.addRow(self.problemNote)
        self._timer = qt.QTimer(self.widget)
        self._timer.objectName = "imagesTimer"
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self._settle)
        self.refresh()

    def setScene(self, scene: Any) -> None:
        """Offer the nodes of a scene; None: no nodes."""
        self.removeObservers(self._onNodeAdded)
        self.removeObservers(self._onNodeLeaves)
        self._scene, self._leaving = scene, set()
        for selector in [*self._selectors.values(), self.referenceSelector]:
            with widgets.blocked(selector):
                selector.setMRMLScene(scene)
        self._region.setScene(scene)
        if scene is None:
            self._timer.stop()
            return
        self.addObserver(scene, slicer.vtkMRMLScene.NodeAddedEvent, self._onNodeAdded)
        # before the selectors lose the node
        self.addObserver(scene, slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, self._onNodeLeaves, priority=_FIRST)
        self.refresh()
        self._look()

    def setState(self, state: Any) -> None:
        """Show another parameter node; None: none, as while a scene is closed."""
        self._state, self._lastChosen, self._leaving = state, "", set()
        self._region.setState(state)
        self._segments.setState(state)
        self.refresh()
        self._look()

    def setNetwork(self, entry: Any) -> None:
        """Ask for the volumes that a network takes (a `NetworkEntry`); None: for none."""
        self._segments.setOutputs(entry.outputs if entry is not None else None)
        channels = tuple(entry.channels) if entry is not None else ()
        if channels == self._channels:
            return
        self._channels = channels
        self._makeChannelRows()
        self.refresh()
        self._look()

    def refresh(self) -> None:
        """Show the state."""
        state = self._state
        for channel, selector in self._selectors.items():
            with widgets.blocked(selector):
                selector.setCurrentNode(state.channelNode(channel) if state is not None else None)
        with widgets.blocked(self.referenceSelector):
            self.referenceSelector.setCurrentNode(state.reference if state is not None else None)
        self._segments.refresh()
        self._region.refresh()
        self._observeVolumes()
        self._showNotes()

    def volumes(self) -> dict[str, Any]:
        """The chosen volume node of each channel that has one, in the network's order."""
        if self._state is None:
            return {}
        chosen = {channel: self._state.channelNode(channel) for channel in self._channels}
        return {channel: node for channel, node in chosen.items() if node is not None}

    def problems(self) -> list[str]:
        """What is missing before the images can be segmented, as sentences; none while no network is known."""
        volumes = self.volumes()
        missing = [channel for channel in self._channels if channel not in volumes]
        found = []
        if len(missing) == 1:
            found.append(_("Choose a volume for the channel {channel}.").format(channel=missing[0]))
        elif missing:
            found.append(_("Choose volumes for the channels {channels}.").format(channels=", ".join(missing)))
        return found + grids.gridProblems(volumes) + self._segments.problems()

    def segments(self) -> dict[str, str]:
        """What the user says that segments of the reference are: the name of a class for each segment's ID."""
        return self._segments.answers()

    def regionProblems(self) -> list[str]:
        """What is missing before the region can be attacked, as sentences."""
        return self._region.problems()

    def guess(self) -> None:
        """Choose volumes by their names for the channels that have none.

        Where all have one, all but the one that the user has chosen last are guessed anew. A channel for which nothing is
        found keeps what it has.
        """
        if self._state is None or self._scene is None:
            return
        fixed = self.volumes()
        if len(fixed) == len(self._channels):
            fixed = {channel: node for channel, node in fixed.items() if channel == self._lastChosen}
        with oneChange(self._state):
            setEmptied(self._state, set())
            self._choose(fixed)

    def tabOrder(self) -> list[Any]:
        """The widgets that take the keyboard, in reading order."""
        chosen = [self.sampleButton, self.guessButton, *self._selectors.values(), self.referenceSelector]
        return [*chosen, *self._segments.tabOrder(), *self._region.tabOrder()]

    def _makeButtons(self, loadSample: Callable[[], None]) -> None:
        self.sampleButton = widgets.button(
            _("Load sample"),
            "loadSampleButton",
            _("Makes a synthetic subject with a brain tumour on this computer; nothing is downloaded"),
        )
        self.sampleButton.connect("clicked(bool)", lambda _checked=False: loadSample())
        self.guessButton = widgets.button(
            _("Guess from names"),
            "guessButton",
            _(
                "Chooses volumes by their names for the channels that have none; where all have one, it chooses all anew "
                "except the one that you have chosen last"
            ),
        )
        self.guessButton.connect("clicked(bool)", lambda _checked=False: self.guess())
        buttons = qt.QHBoxLayout()
        buttons.addWidget(self.sampleButton)
        buttons.addWidget(self.guessButton)
        self._form.addRow(buttons)

    def _makeReference(self) -> None:
        self.referenceSelector = nodeSelector(_LABELS)
        widgets.row(
            self._form,
            _("Reference"),
            self.referenceSelector,
            "referenceSelector",
            _("The true structures, if they are known: a segmentation or label map (optional)"),
        )
        self.referenceSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._onReference)

    def _makeChannelRows(self) -> None:
        for selector in self._selectors.values():
            with widgets.blocked(selector):
                selector.setMRMLScene(None)
            self._form.removeRow(_FIRST_CHANNEL_ROW)
        self._selectors = {}
        for n, channel in enumerate(self._channels):
            selector = nodeSelector(_VOLUMES)
            selector.objectName = f"channelSelector{n}"
            selector.accessibleName = channel
            selector.setMRMLScene(self._scene)
            label = qt.QLabel(shortened(channel, _LONGEST_LABEL))
            label.objectName = f"channelSelector{n}Label"
            label.textFormat = qt.Qt.PlainText
            label.setBuddy(selector)
            toolTip = _("The volume that the network takes as {channel}").format(channel=channel)
            label.toolTip = selector.toolTip = widgets.tip(toolTip)
            self._form.insertRow(_FIRST_CHANNEL_ROW + n, label, selector)
            selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node, channel=channel: self._onVolume(channel, node))
            self._selectors[channel] = selector

    def _onVolume(self, channel: str, node: Any) -> None:
        if self._state is None or CHANNEL_ROLE + channel in self._leaving:
            return
        self._lastChosen = channel if node is not None else self._lastChosen
        with oneChange(self._state):
            self._markEmptied(CHANNEL_ROLE + channel, node is None)
            self._state.setChannelNode(channel, node)
        self._look()

    def _onReference(self, node: Any) -> None:
        if self._state is None or REFERENCE_ROLE in self._leaving:
            return
        with oneChange(self._state):
            self._markEmptied(REFERENCE_ROLE, node is None)
            self._state.reference = node

    def _markEmptied(self, role: str, isEmptied: bool) -> None:
        roles = emptied(self._state)
        setEmptied(self._state, roles | {role} if isEmptied else roles - {role})

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeLeaves(self, _caller: Any, _event: Any, node: Any) -> None:
        """Remember what it was chosen for: a selector that loses its node goes over to another, which is no user's choice."""
        if self._state is not None:
            self._leaving |= {CHANNEL_ROLE + channel for channel, volume in self.volumes().items() if volume is node}
            self._leaving |= {REFERENCE_ROLE} if self._state.reference is node else set()
            self._region.leaving = self._region.leaving or self._state.region is node
        self._look()

    def _onNodeAdded(self, _caller: Any = None, _event: Any = None) -> None:
        self._look()

    def _look(self, _caller: Any = None, _event: Any = None) -> None:
        """Guess and show soon, once for all that happens until then: a node has often no name and voxels when it appears."""
        if self._scene is not None:
            self._timer.start(0)

    def _settle(self) -> None:
        self._leaving, self._region.leaving = set(), False
        if self._scene is None or self._state is None:
            return
        if self._scene.IsBatchProcessing():
            self._timer.start(_LATER)
            return
        with oneChange(self._state):
            self._choose(self.volumes())
        self.refresh()
        self.onChanged()

    def _choose(self, fixed: dict[str, Any]) -> None:
        """Guess what is neither fixed nor emptied."""
        empty = emptied(self._state)
        open_ = [channel for channel in self._channels if CHANNEL_ROLE + channel not in empty]
        for channel, node in guessVolumes(self._scene, open_, fixed).items():
            self._state.setChannelNode(channel, node)
        if self._state.reference is None and REFERENCE_ROLE not in empty:
            self._state.reference = guessReference(self._scene, list(self.volumes().values()))

    def _observeVolumes(self) -> None:
        """Look again when the voxels or the place of a chosen volume change; another matrix is a plain change of the node."""
        volumes = list(self.volumes().values())
        if volumes == self._observed:
            return
        self.removeObservers(self._look)
        self._observed = volumes
        for volume in dict.fromkeys(volumes):
            self.addObserver(volume, vtk.vtkCommand.ModifiedEvent, self._look)
            self.addObserver(volume, slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent, self._look)
            self.addObserver(volume, slicer.vtkMRMLTransformableNode.TransformModifiedEvent, self._look)

    def _showNotes(self) -> None:
        chosen = self.volumes()
        volumes = [volume for volume in chosen.values() if grids.hasVoxels(volume)]
        widgets.say(self.gridNote, grids.gridInWords(volumes[0]) if volumes else "")
        widgets.say(self.hintNote, breakable("\n".join(grids.gridHints(chosen))))
        problems = [*self.problems(), *self.regionProblems()] if self._state is not None else []
        widgets.say(self.problemNote, breakable("\n".join(problems)))
