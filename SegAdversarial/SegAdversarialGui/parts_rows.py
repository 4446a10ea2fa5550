"""The rows of the Results section for what is more than an addition: which part lies over the image, and the grid lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import qt
from slicer.i18n import tr as _

from SegAdversarialGui import widgets
from SegAdversarialGui.result_nodes import RUN, alive, living

if TYPE_CHECKING:
    from SegAdversarialLib.scene import ResultNodes

_CHANGE = "perturbation"


class PartsRows:
    """Lets the user choose which part of a perturbation the difference shows, and show the displacement as grid lines.

    The rows are hidden for a run that has only added something.

    Args:
        form: the layout that takes the rows.
        changed: called when another part was chosen.

    Attributes:
        overlay: the part that lies over the original.
        gridLines: whether the displacement is shown in the slice views.
    """

    def __init__(self, form: Any, changed: Callable[[], None]) -> None:
        self._form, self._changed = form, changed
        self._chosen, self._transform = _CHANGE, None
        self.overlay = widgets.combo()
        self.overlay.connect("activated(int)", self._overlayChosen)
        tip = _("What lies over the original: the change as a whole, or one of its parts")
        widgets.row(form, _("Overlay"), self.overlay, "overlaySelector", tip)
        self.gridLines = qt.QCheckBox(_("Show as grid lines"))
        self.gridLines.connect("toggled(bool)", self._gridLinesToggled)
        tip = _("Show in the slice views how the image was bent. The transform itself can be put over other nodes, too.")
        widgets.row(form, _("Displacement"), self.gridLines, "gridLinesCheckBox", tip)

    def show(self, result: ResultNodes, channel: str) -> None:
        """Offer what a run has of a channel."""
        titles = {_CHANGE: _("Change"), "bias": _("Bias field"), "added": _("Added")}
        items = [(titles[part], part) for part in _partsOf(result, channel)]
        widgets.fillCombo(self.overlay, items, self._part(result, channel))
        widgets.shown(self.overlay, self._form, len(items) > 1)
        self._transform = living(result.displacement)
        display = self._transform.GetDisplayNode() if self._transform is not None else None
        with widgets.blocked(self.gridLines):
            self.gridLines.checked = display is not None and bool(display.GetVisibility())
        widgets.shown(self.gridLines, self._form, display is not None)

    def over(self, result: ResultNodes, channel: str) -> ResultNodes:
        """The run with the chosen part in the place of its change; the grid lines of other runs are hidden."""
        if self._transform is not None:
            _hideOthers(self._transform)
        part = self._part(result, channel)
        if part == _CHANGE:
            return result
        return replace(result, perturbation={**result.perturbation, channel: getattr(result, part)[channel]})

    def _part(self, result: ResultNodes, channel: str) -> str:
        return self._chosen if self._chosen in _partsOf(result, channel) else _CHANGE

    def _overlayChosen(self, index: int) -> None:
        self._chosen = self.overlay.itemData(index)
        self._changed()

    def _gridLinesToggled(self, checked: bool) -> None:
        if alive(self._transform):
            self._transform.GetDisplayNode().SetVisibility(checked)


def _partsOf(result: ResultNodes, channel: str) -> list[str]:
    return [part for part in (_CHANGE, "bias", "added") if alive(getattr(result, part).get(channel))]


def _hideOthers(transform: Any) -> None:
    scene = transform.GetScene()
    for n in range(scene.GetNumberOfNodesByClass("vtkMRMLGridTransformNode")):
        node = scene.GetNthNodeByClass(n, "vtkMRMLGridTransformNode")
        if node is not transform and node.GetAttribute(RUN) and node.GetDisplayNode() is not None:
            node.GetDisplayNode().SetVisibility(False)
