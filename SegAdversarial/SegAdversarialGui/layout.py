"""The layout in which a result is compared: original and adversarial side by side, beneath them the difference, and chart and
table; and that of chart and table alone, for what has no images."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

import slicer
from slicer.i18n import tr as _

COMPARE = 5710
"""The layout's number; Slicer's own end at 503."""

FIGURES = 5711
"""The number of the layout of chart and table alone."""

ORIGINAL = "SegAdversarialOriginal"
ADVERSARIAL = "SegAdversarialAdversarial"
DIFFERENCE = "SegAdversarialDifference"
PLOT = "SegAdversarialPlot"
TABLE = "SegAdversarialTable"
SLICES = (ORIGINAL, ADVERSARIAL, DIFFERENCE)

_OURS = (COMPARE, FIGURES)
_FORMER = "SegAdversarial.FormerLayout"
# Slicer sends the moves of a linked view to its whole group: a group of our own leaves the user's views alone
_GROUP = 5710


def layoutDescription() -> str:
    """The layout in Slicer's XML. All views are our own, so that the user's views keep what they show.

    Two slice views stand beside each other, not three: each is as wide as its bar at least, and a laptop's screen holds two
    beside the panel. The names are short, because a narrow bar cuts them off.
    """
    original, adversarial, difference = (
        f'<item splitSize="500"><view class="vtkMRMLSliceNode" singletontag="{tag}">'
        '<property name="orientation" action="default">Axial</property>'
        f"{_property('viewlabel', label)}{_property('viewcolor', color)}{_property('viewgroup', _GROUP)}"
        "</view></item>"
        for tag, label, color in (
            (ORIGINAL, _("Orig"), "#4C9BE0"),
            (ADVERSARIAL, _("Adv"), "#E0823C"),
            (DIFFERENCE, _("Diff"), "#A56CC9"),
        )
    )
    return (
        '<layout type="vertical" split="true">'
        f'<item splitSize="500"><layout type="horizontal" split="true">{original}{adversarial}</layout></item>'
        f'<item splitSize="500"><layout type="horizontal" split="true">{difference}'
        f'<item splitSize="500">{figuresDescription()}</item></layout></item>'
        "</layout>"
    )


def figuresDescription() -> str:
    """The layout of chart and table alone, in Slicer's XML."""
    figures = "".join(
        f'<item splitSize="{size}"><view class="{className}" singletontag="{tag}">'
        f"{_property('viewlabel', label)}</view></item>"
        for className, tag, label, size in (
            ("vtkMRMLPlotViewNode", PLOT, _("Chart"), 600),
            ("vtkMRMLTableViewNode", TABLE, _("Metrics"), 400),
        )
    )
    return f'<layout type="vertical" split="true">{figures}</layout>'


def ensureLayout(layoutManager: Any) -> None:
    """Make the layouts known to Slicer, which does not save layouts with the scene; again is harmless.

    Call it when the module is set up and after a scene was loaded or closed: a scene that was saved in this layout shows it
    as soon as it is known.
    """
    node = _layoutNode(layoutManager)
    if node is None:
        return
    for number, description in ((COMPARE, layoutDescription), (FIGURES, figuresDescription)):
        if not node.IsLayoutDescription(number):
            node.AddLayoutDescription(number, description())
    if node.GetViewArrangement() in _OURS and not node.GetCurrentLayoutDescription():
        # a scene chose the layout before it was known, so that Slicer's window is empty
        node.SetViewArrangement(node.GetViewArrangement())


def isShown(layoutManager: Any) -> bool:
    """Whether Slicer's window shows the layout."""
    node = _layoutNode(layoutManager)
    return node is not None and node.GetViewArrangement() == COMPARE


def showLayout(layoutManager: Any, number: int = COMPARE) -> bool:
    """Show one of our layouts, and remember the user's own, for `leaveLayout`.

    Returns:
        Whether this was a change.
    """
    ensureLayout(layoutManager)
    node = _layoutNode(layoutManager)
    former = node.GetViewArrangement()
    if former == number:
        return False
    if former not in _OURS:
        node.SetAttribute(_FORMER, str(former))
    layoutManager.setLayout(number)
    return True


def leaveLayout(layoutManager: Any) -> bool:
    """Show the layout that the user had before `showLayout`; any other layout is left alone.

    Returns:
        Whether this was a change.
    """
    node = _layoutNode(layoutManager)
    if node is None or node.GetViewArrangement() not in _OURS:
        return False
    usual = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    former = node.GetAttribute(_FORMER) or ""
    known = former.isdigit() and node.IsLayoutDescription(int(former)) and node.GetLayoutDescription(int(former))
    layoutManager.setLayout(int(former) if known else usual)
    return True


def nodesOfClass(scene: Any, className: str) -> list[Any]:
    """All nodes of a class, in the order in which they were added."""
    return [scene.GetNthNodeByClass(n, className) for n in range(scene.GetNumberOfNodesByClass(className))]


def viewNode(scene: Any, className: str, tag: str) -> Any:
    """The view (or its composite node) with a tag ("Red", or one of our own), or None if no layout has asked for it yet."""
    return next((view for view in nodesOfClass(scene, className) if view.GetLayoutName() == tag), None)


def presentViews(layoutManager: Any) -> list[Any]:
    """The slice views of the present layout."""
    present = layoutManager.layoutLogic().GetViewNodes()
    views = [present.GetItemAsObject(n) for n in range(present.GetNumberOfItems())]
    return [view for view in views if view.IsA("vtkMRMLSliceNode")]


def usersSliceViews(layoutManager: Any) -> list[Any]:
    """The slice views of the present layout that are not ours; where it has none, all that there are."""
    groups = (presentViews(layoutManager), nodesOfClass(layoutManager.mrmlScene(), "vtkMRMLSliceNode"))
    return next(filter(None, ([x for x in views if x.GetLayoutName() not in SLICES] for views in groups)), [])


def _layoutNode(layoutManager: Any) -> Any:
    logic = layoutManager.layoutLogic() if layoutManager is not None else None
    return logic.GetLayoutNode() if logic is not None else None


def _property(name: str, value: object) -> str:
    return f'<property name="{name}" action="default">{escape(str(value))}</property>'


def viewTip(view: str) -> str:
    """What the button of a view of a result does."""
    return {
        "original": _("Show the input with the network's answer for it"),
        "adversarial": _("Show the adversarial image with the network's answer for it"),
        "difference": _("Show what was added, in colours over the input"),
        "compare": _(
            "Show original, adversarial and difference side by side, with chart and table. Filled is the network's answer, "
            "outlined the reference."
        ),
    }[view]
