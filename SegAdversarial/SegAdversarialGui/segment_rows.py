"""The rows of the panel that ask what segments of the reference are, where their names do not say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from SegAdversarialGui import widgets
from SegAdversarialGui.wrapping import breakable

BACKGROUND = "background"
"""How a segment is answered for that is none of the network's classes."""


class SegmentRows(VTKObservationMixin):
    """A row for each segment (or value of a label map) that is not known to be a class of the network. Hidden without any.

    Args:
        form: the layout that gets the rows.
        changed: called when the reference's segments have changed.
    """

    def __init__(self, form: Any, changed: Callable[[], None]) -> None:
        VTKObservationMixin.__init__(self)
        self._changed = changed
        self._state: Any = None
        self._outputs: Any = None
        self._observed: Any = None
        self._held: dict[str, Any] | None = None
        self._rows: list[tuple[str, str]] = []
        self._combos: list[Any] = []
        self.box = qt.QWidget()
        self.box.objectName = "segmentsBox"
        self._form = widgets.formOf(self.box)
        self._form.setContentsMargins(0, 0, 0, 0)
        self.note = widgets.note("segmentsNote")
        self.note.text = _("Their names do not say which classes of the network these structures of the reference are:")
        self._form.addRow(self.note)
        self.box.setVisible(False)
        form.addRow(self.box)

    def setState(self, state: Any) -> None:
        """Show another parameter node; None: none."""
        self._state = state
        self.refresh()

    def setOutputs(self, outputs: Any) -> None:
        """Ask for the classes of another network (an `OutputHead`); None: for none."""
        self._outputs = outputs
        self.refresh()

    def refresh(self) -> None:
        """Show the state."""
        self._observe(self._state.reference if self._state is not None else None)
        rows = self._titles()
        if rows != self._rows:
            self._makeRows(rows)
        answers = self.answers()
        for (identifier, _title), combo in zip(self._rows, self._combos):
            widgets.fillCombo(combo, self._choices(), answers.get(identifier, ""))
        self.box.setVisible(bool(rows))

    def answers(self) -> dict[str, str]:
        """What the user says that segments are: the name of a class for each segment's ID."""
        known = [x for _text, x in self._choices() if x]
        said = self._state.settings.segments if self._state is not None else {}
        return {identifier: said[identifier] for identifier in self._segments() if said.get(identifier) in known}

    def problems(self) -> list[str]:
        """What is not answered yet, as sentences."""
        undecided = self._undecided(self.answers())
        names = ", ".join(title for identifier, title in self._rows if identifier in undecided)
        problem = _("Say which classes of the network these of the reference are: {names}.")
        return [problem.format(names=names)] if names else []

    def tabOrder(self) -> list[Any]:
        """The widgets that take the keyboard, in reading order."""
        return list(self._combos)

    def _segments(self) -> dict[str, Any]:
        """What the reference holds; looked at again when it has changed."""
        if self._observed is None or self._outputs is None:
            return {}
        if self._held is None:
            from SegAdversarialLib import scene

            self._held = scene.segments_of_reference(self._observed)
        return self._held

    def _undecided(self, answers: dict[str, str]) -> dict[str, str]:
        segments = self._segments()
        if not segments:
            return {}
        from SegAdversarialLib import scene

        return dict(scene.undecided_segments(segments, self._outputs, answers))

    def _titles(self) -> list[tuple[str, str]]:
        """The identifiers and names of the segments to be asked for: also those that were answered."""
        segments, answers = self._segments(), self.answers()
        asked = {*self._undecided({}), *self._undecided(answers)}
        return [(x, segment.name or _("Label {value}").format(value=x)) for x, segment in segments.items() if x in asked]

    def _choices(self) -> list[tuple[str, str]]:
        """What can be chosen, in words and as a name."""
        if self._outputs is None:
            return []
        names = [self._outputs.names[n] for n in self._outputs.foreground]
        return [(_("Choose..."), ""), *((name, name) for name in names), (_("None of them"), BACKGROUND)]

    def _makeRows(self, rows: list[tuple[str, str]]) -> None:
        for _row in self._rows:
            self._form.removeRow(1)
        self._rows, self._combos = rows, []
        for n, (identifier, title) in enumerate(rows):
            combo = widgets.combo()
            toolTip = _("The class of the network that {segment} is").format(segment=title)
            label = widgets.row(self._form, breakable(title), combo, f"segmentCombo{n}", toolTip)
            label.textFormat = qt.Qt.PlainText
            label.wordWrap = True
            combo.accessibleName = title
            combo.connect("activated(int)", lambda index, row=(identifier, combo): self._onChosen(*row, index))
            self._combos.append(combo)

    def _onChosen(self, identifier: str, combo: Any, index: int) -> None:
        if self._state is None or index < 0:
            return
        others = {x: name for x, name in self._state.settings.segments.items() if x != identifier}
        chosen = combo.itemData(index)
        self._state.change(segments={**others, identifier: chosen} if chosen else others)
        self._changed()

    def _observe(self, node: Any) -> None:
        """Look again when the segments change."""
        if node is self._observed:
            return
        self.removeObservers(self._onSegments)
        self._observed, self._held = node, None
        if node is None:
            return
        segmentation = slicer.vtkSegmentation
        events = [slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent]
        if node.IsA("vtkMRMLSegmentationNode"):
            events = [
                *(segmentation.SegmentAdded, segmentation.SegmentRemoved, segmentation.SegmentModified),
                *(segmentation.SegmentsOrderModified, segmentation.SourceRepresentationModified),
            ]
        for event in events:
            self.addObserver(node, event, self._onSegments)

    def _onSegments(self, _caller: Any = None, _event: Any = None) -> None:
        self._held = None
        self._changed()
