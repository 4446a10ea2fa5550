"""What the views show of a result, by MRML nodes only. No window or level is touched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from SegAdversarialGui import layout
from SegAdversarialGui.result_nodes import (
    ROLE,
    RUN,
    alive,
    iterationCount,
    largestSection,
    living,
    proxies,
    proxiesOf,
    selectedIteration,
)

if TYPE_CHECKING:
    from SegAdversarialLib.scene import ResultNodes
    from SegAdversarialLib.scene.steps import Steps

_IMAGE_OF = {layout.ORIGINAL: "original", layout.ADVERSARIAL: "adversarial", layout.DIFFERENCE: "difference"}

# the place of a legend in its view, from 0 to 1: where it has room to move, and its short and long side; below it stand the
# texts that Slicer writes into the lowest eighth of the view
_LEGEND_PLACE, _LEGEND_SIZE = (0.98, 0.5), (0.12, 0.6)

_PLACED = "SegAdversarial.Placed"
"""The attribute of a slice view that says for which run it went to the finding."""


@dataclass(frozen=True)
class _Content:
    """What one slice view shows: a volume, the perturbation over it, the network's answer, and the outlined reference."""

    background: Any
    foreground: Any = None
    answer: Any = None
    outline: Any = None


def showingSteps(
    layoutManager: Any, result: ResultNodes, view: str, opacity: float, channel: str, chart: Any = None
) -> Steps[list[Any]]:
    """Show a result in the slice views, one view a step: the first sight of a large volume takes long.

    Args:
        layoutManager: Slicer's.
        view: "original", "adversarial" or "difference", in the slice views of the user's layout; "compare": side by side, in
            our own layout, with the chart and the metrics; "figures": chart and table alone.
        opacity: of the perturbation, from 0 to 1.
        channel: the channel that is looked at.
        chart: the chart beneath; the run's own unless given.

    Returns:
        The slice views that went to the finding: those that show another run than before, or another grid. Those that have
        just appeared get their size only when Qt has laid them out: call `finishingSteps` for them then.
    """
    scene = layoutManager.mrmlScene()
    contents = _contents(result, channel)
    if view == "figures":
        layout.showLayout(layoutManager, layout.FIGURES)
        yield
        yield from _beneathSteps(layoutManager, result.chart if chart is None else chart, result.metrics)
        _fitTables(layoutManager)
        return []
    if view == "compare":
        layout.showLayout(layoutManager)
        yield
        shown = {layout.viewNode(scene, "vtkMRMLSliceNode", tag): contents[image] for tag, image in _IMAGE_OF.items()}
        yield from _beneathSteps(layoutManager, result.chart if chart is None else chart, result.metrics)
        _linkViews(scene)
    else:
        layout.leaveLayout(layoutManager)
        yield
        shown = dict.fromkeys(layout.usersSliceViews(layoutManager), contents[view])
    shown.pop(None, None)
    moved = []
    for node, content in shown.items():
        if _fill(scene, node, content, opacity, result.run):
            moved.append(node)
        yield
    yield from _segmentationSteps(scene, shown, view, result)
    _showLegends(scene, [content.foreground for content in shown.values()])
    if moved:
        _placeViews(layoutManager, result, moved)
    return moved


def finishingSteps(layoutManager: Any, result: ResultNodes, views: Iterable[Any]) -> Steps[None]:
    """Fit what `showingSteps` have shown to the size that the views have by now; views that are gone are left out."""
    _placeViews(layoutManager, result, [view for view in views if alive(view)])
    yield
    _fitTables(layoutManager)


def _fitTables(layoutManager: Any) -> None:
    """Let the columns of our table be as wide as what stands in them."""
    for widget in map(layoutManager.tableWidget, range(layoutManager.tableViewCount)):
        if widget.mrmlTableViewNode().GetLayoutName() == layout.TABLE:
            widget.tableView().resizeColumnsToContents()


def drawLegends(scene: Any, views: Iterable[Any]) -> None:
    """Let slice views draw colour legends that are older than themselves.

    Slicer does so only after a change that is said to be a user's, and only once the view is there.
    """
    for view in views:
        composite = layout.viewNode(scene, "vtkMRMLSliceCompositeNode", view.GetLayoutName()) if alive(view) else None
        if composite is not None:
            composite.SetInteractionFlags(composite.ForegroundVolumeFlag)
            composite.Modified()
            composite.SetInteractionFlags(0)


def showSample(layoutManager: Any, case: Any) -> None:
    """Show a case that has just been added in the slice views of the user: its first channel, where most is labelled."""
    if layoutManager is None:
        return
    layout.leaveLayout(layoutManager)
    volume = next(iter(case.channels.values()))
    where = largestSection(case.reference)
    for view in layout.usersSliceViews(layoutManager):
        widget = layoutManager.sliceWidget(view.GetLayoutName())
        if widget is None:
            continue
        widget.mrmlSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
        widget.sliceLogic().FitSliceToBackground()
        if where is not None:
            view.JumpSliceByOffsetting(*where)


def setOpacity(layoutManager: Any, result: ResultNodes, opacity: float) -> None:
    """Change the opacity of the perturbation, from 0 to 1, wherever a view shows it."""
    ours = {node.GetID() for node in result.perturbation.values() if alive(node)}
    for composite in layout.nodesOfClass(layoutManager.mrmlScene(), "vtkMRMLSliceCompositeNode"):
        if composite.GetForegroundVolumeID() in ours:
            composite.SetForegroundOpacity(opacity)


def _placeViews(layoutManager: Any, result: ResultNodes, views: Sequence[Any]) -> None:
    """Fit slice views to their volume, and jump to the axial section in which the labels have the largest area. The compared
    views get one scale."""
    where = next((x for x in map(largestSection, (result.reference, result.clean, result.attacked)) if x is not None), None)
    for view in views:
        widget = layoutManager.sliceWidget(view.GetLayoutName())
        if view.GetLayoutName() in layout.SLICES:
            view.SetOrientationToAxial()
        if widget is not None:
            widget.sliceLogic().FitSliceToBackground()
        if where is not None:
            view.JumpSliceByOffsetting(*where)
    _scaleEqually([view for view in views if view.GetLayoutName() in layout.SLICES])


def _scaleEqually(views: Sequence[Any]) -> None:
    """Give axial views that are fitted to one volume, and differ in size, the smallest of their scales."""
    scales = [view.GetFieldOfView()[0] / view.GetDimensions()[0] for view in views if view.GetDimensions()[0] > 0]
    for view in views:
        width, height, _depth = view.GetDimensions()
        view.SetFieldOfView(max(scales, default=1.0) * width, max(scales, default=1.0) * height, view.GetFieldOfView()[2])
        view.UpdateMatrices()


def _contents(result: ResultNodes, channel: str) -> dict[str, _Content]:
    """What each kind of view shows of a channel; what is gone is left out."""
    original, adversarial = result.inputs.get(channel), result.adversarial.get(channel)
    perturbation, attacked, reference = result.perturbation.get(channel), result.attacked, living(result.reference)
    count = iterationCount(result)
    if count and selectedIteration(result) < count - 1:
        volumes, attacked = proxies(result)
        adversarial = volumes.get(channel, adversarial)
    return {
        "original": _Content(living(original), None, living(result.clean), reference),
        "adversarial": _Content(living(adversarial), None, living(attacked), living(result.moved_reference) or reference),
        "difference": _Content(living(original), living(perturbation), None, reference),
    }


def _fill(scene: Any, view: Any, content: _Content, opacity: float, run: str) -> bool:
    """Put the volumes into a slice view.

    Returns:
        Whether the view shows another run, or another grid, than before.
    """
    composite = layout.viewNode(scene, "vtkMRMLSliceCompositeNode", view.GetLayoutName())
    if composite is None or content.background is None:
        return False
    before = scene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
    modifying = composite.StartModify()
    composite.SetBackgroundVolumeID(content.background.GetID())
    composite.SetForegroundVolumeID(content.foreground.GetID() if content.foreground is not None else None)
    if content.foreground is not None:
        composite.SetForegroundOpacity(opacity)
    if view.GetLayoutName() in layout.SLICES:
        # Slicer shows a loaded label map also in views that are made later
        composite.SetLabelVolumeID(None)
    composite.EndModify(modifying)
    another = view.GetAttribute(_PLACED) != run
    view.SetAttribute(_PLACED, run)
    return another or before is None or _bounds(before) != _bounds(content.background)


def _segmentationSteps(scene: Any, shown: Mapping[Any, _Content], view: str, result: ResultNodes) -> Steps[None]:
    """Show the network's answers, side by side each in its own view, and hide those of all other runs.

    The reference is an outline and the answers are filled, so that they can be told apart: a class has the same colour in all.
    """
    answers: dict[Any, list[str]] = {}
    outlines: dict[Any, list[str]] = {}
    for node, content in shown.items():
        for found, what in ((answers, content.answer), (outlines, content.outline)):
            if what is not None:
                found.setdefault(what, []).append(node.GetID())
    for node in _segmentations(scene, result.reference):
        display = node.GetDisplayNode()
        if node in answers:
            # its own outline would be taken for the reference's
            _show(display, answers[node] if view == "compare" else [], filled=True, outlined=not alive(result.reference))
        elif node in outlines:
            _show(display, outlines[node] if alive(result.moved_reference) else [], visible=view != "difference")
        else:
            display.SetVisibility(False)
        yield


def _segmentations(scene: Any, reference: Any) -> list[Any]:
    """The segmentations of all runs, and the references. The user's other segmentations are not among them."""
    ours = [x for x in layout.nodesOfClass(scene, "vtkMRMLSegmentationNode") if x is reference or x.GetAttribute(ROLE)]
    # a sequence browser takes the marks off the node in which it shows the selected iteration
    for browser in layout.nodesOfClass(scene, "vtkMRMLSequenceBrowserNode"):
        if browser.GetAttribute(RUN):
            ours += [x for x in proxiesOf(browser) if x.IsA("vtkMRMLSegmentationNode")]
    return [x for x in dict.fromkeys(ours) if x.GetDisplayNode() is not None]


def _show(display: Any, views: list[str], *, visible: bool = True, filled: bool = False, outlined: bool = True) -> None:
    """Show a segmentation in some views; none: in all."""
    modifying = display.StartModify()
    display.RemoveAllViewNodeIDs()
    for view in views:
        display.AddViewNodeID(view)
    display.SetVisibility(visible)
    display.SetVisibility2DFill(filled)
    display.SetVisibility2DOutline(outlined)
    display.EndModify(modifying)


def _showLegends(scene: Any, volumes: Iterable[Any]) -> None:
    """Show the colour legends of perturbations, and hide those of all that is no longer shown.

    Slicer draws a legend in the views that show its volume only, but a view that has let go of a volume goes on drawing it.
    """
    shown = set(volumes)
    for volume in layout.nodesOfClass(scene, "vtkMRMLScalarVolumeNode"):
        for n in range(volume.GetNumberOfDisplayNodes() if volume.GetAttribute(ROLE) else 0):
            legend = volume.GetNthDisplayNode(n)
            if legend is not None and legend.IsA("vtkMRMLColorLegendDisplayNode"):
                if volume not in shown:
                    legend.SetVisibility(False)
                    continue
                legend.SetOrientation(legend.Vertical)
                legend.SetPosition(*_LEGEND_PLACE)
                legend.SetSize(*_LEGEND_SIZE)
                legend.SetVisibility(True)
                # a slice view that has just taken the volume up draws the legend only when it hears of it again
                legend.Modified()


def _beneathSteps(layoutManager: Any, chart: Any, metrics: Any) -> Steps[None]:
    """The chart and the table of our layout. They do not follow what the user chooses for other views."""
    plot, table = (
        layout.viewNode(layoutManager.mrmlScene(), name, tag)
        for name, tag in (("vtkMRMLPlotViewNode", layout.PLOT), ("vtkMRMLTableViewNode", layout.TABLE))
    )
    if plot is not None:
        plot.SetDoPropagatePlotChartSelection(False)
        plot.SetPlotChartNodeID(chart.GetID() if alive(chart) else None)
        yield
    if table is not None:
        table.SetDoPropagateTableSelection(False)
        table.SetTableNodeID(metrics.GetID() if alive(metrics) else None)
        yield


def _linkViews(scene: Any) -> None:
    """Link our three views with each other, also while one is dragged, and with no other view."""
    for tag in layout.SLICES:
        composite = layout.viewNode(scene, "vtkMRMLSliceCompositeNode", tag)
        if composite is not None:
            composite.SetLinkedControl(True)
            composite.SetHotLinkedControl(True)
            composite.SetDoPropagateVolumeSelection(False)


def _bounds(volume: Any) -> list[float]:
    bounds = [0.0] * 6
    volume.GetRASBounds(bounds)
    return [round(x, 3) for x in bounds]
