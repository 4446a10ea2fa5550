"""Which views of a result can be shown, and which one is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from SegAdversarialGui import result_nodes

if TYPE_CHECKING:
    from SegAdversarialLib.scene import ResultNodes


def problem(result: ResultNodes, view: str, channel: str, layoutManager: Any) -> str:
    """Why a view cannot be shown; empty if it can."""
    if layoutManager is None:
        return _("There are no views without Slicer's window")
    if not result_nodes.hasImages(result):
        return _("This run has figures only: chart and table") if view != "figures" else ""
    names = {"input": _("the input"), "adversarial": _("the adversarial image"), "perturbation": _("the perturbation")}
    gone = [names[x] for x in result_nodes.missing(result, view, channel)]
    return _("Not in the scene for this channel: {what}").format(what=", ".join(gone)) if gone else ""


def chosenView(result: ResultNodes, view: str, channel: str, layoutManager: Any) -> str:
    """The view that was chosen, or the next best one that has all it needs; none while the views are left alone.

    The choice itself stays: a segmentation has nothing to compare, the next attack has.
    """
    if not result_nodes.hasImages(result):
        wanted = ("figures",) if view else ()
    else:
        wanted = (view, "compare", "original") if view else ()
    return next((x for x in wanted if not problem(result, x, channel, layoutManager)), "")
