"""The panel's Results section: which run is looked at, how, and what it did."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from SegAdversarialGui import display, layout, own_reference, result_nodes, viewable, widgets
from SegAdversarialGui.configuration_window import ConfigurationWindow
from SegAdversarialGui.parts_rows import PartsRows
from SegAdversarialGui.shown_views import ShownViews
from SegAdversarialGui.state import State
from SegAdversarialGui.verdict import verdict

if TYPE_CHECKING:
    from SegAdversarialLib.scene import ResultNodes

_ROW_HEIGHT, _TABLE_FONT = 20, 0.85
_TABLE_HEIGHT = 230


class ResultsSection:
    """Shows the runs that are in the scene, also those that were loaded with it.

    The slice views change only when the user asks for it here, or when `select` is called after an attack. The section
    listens to nothing but its own widgets: whoever owns it calls `refresh` when nodes come or go.

    Args:
        findResults: gives the runs in the scene (`ResultNodes`, `SegmentationNodes`), in the order of their making.
        layoutManager: gives Slicer's layout manager, or None where there is no window.

    Attributes:
        widget: the section.
        confirm: asks the user a question and returns whether the answer was yes.
        configuration: the window that says how a result was made.
    """

    def __init__(self, findResults: Callable[[], list[Any]], layoutManager: Callable[[], Any]) -> None:
        self._findResults, self._layoutManager = findResults, layoutManager
        self.confirm: Callable[[str], bool] = _confirm
        self._state: State | None = None
        self._scene: Any = None
        self._results: list[ResultNodes] = []
        self._charts: list[Any] = []
        self._channel, self._closed = "", False
        self.configuration = ConfigurationWindow()
        self._iteration = ("", 0)
        self.widget, form = widgets.section(_("Results"), "resultsSection")
        self.emptyNote = widgets.note("noResultsNote")
        self.emptyNote.text = _("No results yet. Attack the network, or load a scene with results.")
        form.addRow(self.emptyNote)
        self.content = qt.QWidget()
        self.content.objectName = "resultsContent"
        form.addRow(self.content)
        inner = widgets.formOf(self.content)
        inner.setContentsMargins(0, 0, 0, 0)
        self._makeChoices(inner)
        self._makeViews(inner)
        self._makeFigures(inner)
        self._makeButtons(inner)
        self._views = ShownViews(self.content, layoutManager, self._browserMoved)

    def setScene(self, scene: Any) -> None:
        """Show the results of a scene; None: of no scene."""
        self._scene = scene
        with widgets.blocked(self.table):
            self.table.setMRMLTableNode(None)
            self.table.setMRMLScene(scene)
        if scene is not None and self._layoutManager() is not None:
            layout.ensureLayout(self._layoutManager())

    def setState(self, state: State | None) -> None:
        """Show the choices of another parameter node; None: of none."""
        self._state, self._channel = state, ""

    def select(self, run: str) -> None:
        """Look at a run in the views: in the view last chosen, or all images side by side."""
        if self.choose(run):
            self._show()

    def choose(self, run: str) -> bool:
        """Choose a run, if it is there, as `select` does, without showing it in the views yet."""
        self._results = self._found()
        found = next((x for x in self._results if x.run == run), None)
        if found is None or self._state is None:
            return False
        self._channel = self._channelOf(found)
        self._state.change(run=run, view=self._state.settings.view or "compare")
        return True

    def show(self, run: str) -> None:
        """Show a run that was chosen, if it still is, in the views; the window answers between two of them."""
        result = self._current()
        if result is not None and result.run == run:
            self._showInViews(inTurns=True)

    def refresh(self) -> None:
        """Show the runs that the scene holds now."""
        if self._closed:
            return
        self._results = self._found()
        result = self._current()
        self.emptyNote.setVisible(result is None)
        self.content.setVisible(result is not None)
        self._views.watch(result.browser if result is not None and result_nodes.alive(result.browser) else None)
        self._keepReferenceHidden(result)
        if result is None:
            self.table.setMRMLTableNode(None)
            return
        self._channel = self._channelOf(result)
        self._showChoices(result)
        self._showViewButtons(result)
        self.parts.show(result, self._channel)
        self._showIterations(result)
        self._showFigures(result)
        self._showCharts(result)

    def leaveViews(self) -> None:
        """Give back the layout and the reference as they were before results were shown."""
        self._views.leave(self._scene)

    def tabOrder(self) -> list[Any]:
        """The widgets that take the keyboard, in reading order."""
        return [
            self.runs, self.channels, *self.viewButtons.values(), self.opacity, self.parts.overlay, self.parts.gridLines,
            self.iteration, self.table, self.charts, self.chartButton, self.configurationButton, self.deleteButton,
        ]  # fmt: skip

    def cleanup(self) -> None:
        """Do nothing any more, also not what is due already."""
        self._closed = True
        self._views.cleanup()
        self.configuration.close()
        self.setScene(None)
        self.setState(None)

    def _makeChoices(self, form: Any) -> None:
        self.runs = widgets.combo()
        self.runs.connect("activated(int)", self._runChosen)
        widgets.row(form, _("Run"), self.runs, "runSelector", _("The results in this scene, in the order of their making"))
        self.channels = widgets.combo()
        self.channels.connect("activated(int)", self._channelChosen)
        widgets.row(form, _("Channel"), self.channels, "resultChannelSelector", _("The attacked channel that the views show"))

    def _makeViews(self, form: Any) -> None:
        titles = {
            "original": (_("Original"), "originalViewButton"),
            "adversarial": (_("Adversarial"), "adversarialViewButton"),
            "difference": (_("Difference"), "differenceViewButton"),
            "compare": (_("Compare"), "compareViewButton"),
        }
        grid, self.viewButtons = qt.QGridLayout(), {}
        self.viewGroup = qt.QButtonGroup(self.content)
        for n, (view, (title, name)) in enumerate(titles.items()):
            button = widgets.button(title, name, layout.viewTip(view))
            button.checkable = True
            button.connect("clicked(bool)", lambda _checked=False, view=view: self._viewChosen(view))
            self.viewGroup.addButton(button)
            grid.addWidget(button, n // 2, n % 2)
            self.viewButtons[view] = button
        form.addRow(grid)
        self.opacity = ctk.ctkSliderWidget()
        self.opacity.minimum, self.opacity.maximum, self.opacity.singleStep, self.opacity.decimals = 0, 1, 0.05, 2
        self.opacity.connect("valueChanged(double)", self._opacityChanged)
        tip = _("How opaque the perturbation lies over the original")
        widgets.row(form, _("Opacity"), self.opacity, "perturbationOpacitySlider", tip)
        self.parts = PartsRows(form, lambda: self._show())
        self.iteration = ctk.ctkSliderWidget()
        self.iteration.minimum, self.iteration.singleStep, self.iteration.decimals = 1, 1, 0
        # the number of the iteration stands beneath: a place among the kept ones would be taken for it
        self.iteration.spinBoxVisible = False
        self.iteration.connect("valueChanged(double)", self._iterationChanged)
        widgets.row(form, _("Iteration"), self.iteration, "iterationSlider", _("Slide through the kept states of the attack"))
        self.iterationNote = widgets.note("iterationNote")
        form.addRow(self.iterationNote)

    def _makeFigures(self, form: Any) -> None:
        self.summary = widgets.note("resultSummary")
        form.addRow(self.summary)
        self.table = slicer.qMRMLTableView()
        self.table.objectName = "metricsTable"
        self.table.toolTip = _("All metrics before and after the attack")
        self.table.minimumHeight = self.table.maximumHeight = _TABLE_HEIGHT
        font = self.table.font
        font.setPointSizeF(font.pointSizeF() * _TABLE_FONT)
        self.table.font = font
        self.table.verticalHeader().setVisible(False)
        self.table.verticalHeader().setDefaultSectionSize(_ROW_HEIGHT)
        form.addRow(self.table)
        self.charts = widgets.combo()
        widgets.row(form, _("Chart"), self.charts, "chartSelector", _("The charts of this run"))

    def _makeButtons(self, form: Any) -> None:
        self.chartButton = widgets.button(_("Show chart"), "showChartButton", _("Show the chart beneath the images"))
        self.configurationButton = widgets.button(_("How it was made..."), "configurationButton", _configurationTip(True))
        self.deleteButton = widgets.button(
            _("Delete..."), "deleteResultButton", _("Remove this run's images, segmentations and tables from the scene")
        )
        for button, action in (
            (self.chartButton, self._showChart),
            (self.configurationButton, self._showConfiguration),
            (self.deleteButton, self._delete),
        ):
            button.connect("clicked(bool)", lambda _checked=False, action=action: action())
        row = qt.QHBoxLayout()
        for button in (self.chartButton, self.configurationButton, self.deleteButton):
            row.addWidget(button)
        form.addRow(row)

    def _showChoices(self, result: ResultNodes) -> None:
        widgets.fillCombo(self.runs, [(f"{n}: {x.summary}", x.run) for n, x in enumerate(self._results, 1)], result.run)
        self.runs.toolTip = widgets.tip(result.summary)
        channels = result_nodes.channelsOf(result)
        widgets.fillCombo(self.channels, [(x, x) for x in channels], self._channel)
        self.channels.setEnabled(len(channels) > 1)

    def _showViewButtons(self, result: ResultNodes) -> None:
        view = self._shownView(result)
        # a group with a checked button cannot be unchecked while it is exclusive
        self.viewGroup.exclusive = False
        for name, button in self.viewButtons.items():
            problem = self._problem(result, name)
            button.setEnabled(not problem)
            button.toolTip = widgets.tip(problem or layout.viewTip(name))
            button.setChecked(name == view)
        self.viewGroup.exclusive = True
        with widgets.blocked(self.opacity):
            self.opacity.setValue(self._state.settings.opacity if self._state is not None else 0)
        self.opacity.setEnabled(not result_nodes.missing(result, "difference", self._channel))

    def _showIterations(self, result: ResultNodes) -> None:
        count = result_nodes.iterationCount(result)
        self.iteration.setEnabled(count > 1)
        self.iterationNote.setVisible(count > 1)
        if count < 2:
            tip = _('No iterations were kept: set "Keep every" in the section Attack before it runs.')
            self.iteration.toolTip = widgets.tip(tip)
            with widgets.blocked(self.iteration):
                self.iteration.setValue(self.iteration.minimum)
            return
        place = result_nodes.selectedIteration(result)
        with widgets.blocked(self.iteration):
            self.iteration.maximum = count
            self.iteration.setValue(place + 1)
        self.iteration.toolTip = _("Slide through the kept states of the attack, up to its result")
        self.iterationNote.text = _("Iteration {shown} of {last}").format(
            shown=result_nodes.iterationValue(result, place), last=result_nodes.iterationValue(result, count - 1)
        )

    def _showFigures(self, result: ResultNodes) -> None:
        answers = result_nodes.thresholdsOf(result)
        widgets.say(self.summary, verdict(result.metrics, result.reference, result_nodes.notesOf(result), answers))
        if self.table.mrmlTableNode() is not result.metrics:
            self.table.setMRMLTableNode(result.metrics)
        known = result_nodes.alive(result.configuration)
        self.configurationButton.setEnabled(known)
        self.configurationButton.toolTip = _configurationTip(known)

    def _showCharts(self, result: ResultNodes) -> None:
        charts = layout.nodesOfClass(self._scene, "vtkMRMLPlotChartNode")
        self._charts = [x for x in charts if x is result.chart or x.GetAttribute(result_nodes.RUN) == result.run]
        items = [(x.GetName().removesuffix(f" - {result.summary}"), x.GetID()) for x in self._charts]
        chosen = self.charts.itemData(self.charts.currentIndex)
        known = [identifier for _title, identifier in items]
        widgets.fillCombo(self.charts, items, chosen if chosen in known else next(iter(known), None))
        view = "compare" if result_nodes.hasImages(result) else "figures"
        problem = self._problem(result, view) if self._charts else _("This run has no chart")
        self.charts.setEnabled(bool(self._charts))
        self.chartButton.setEnabled(not problem)
        shown = _("Show the chart beneath the images, side by side") if view == "compare" else _("Show chart and table")
        self.chartButton.toolTip = problem or shown

    def _runChosen(self, index: int) -> None:
        if self._state is not None and 0 <= index < len(self._results):
            result = self._results[index]
            self._channel = self._channelOf(result)
            self._state.change(run=result.run)
            self._show()

    def _channelChosen(self, _index: int) -> None:
        self._channel = self.channels.currentText
        self._show()

    def _viewChosen(self, view: str) -> None:
        if self._state is not None:
            self._state.change(view=view)
            self._show()

    def _opacityChanged(self, value: float) -> None:
        result, manager = self._current(), self._layoutManager()
        if self._state is not None and result is not None:
            self._state.change(opacity=round(value, 2))
            if manager is not None:
                display.setOpacity(manager, self.parts.over(result, self._channel), value)

    def _iterationChanged(self, value: float) -> None:
        result = self._current()
        if self._state is None or result is None or result_nodes.iterationCount(result) < 2:
            return
        result_nodes.selectIteration(result, round(value) - 1)
        if self._shownView(result) not in ("adversarial", "compare"):
            self._state.change(view="adversarial")
        self._show()

    def _show(self, chart: Any = None) -> None:
        """Let this section and the views show what is chosen, as far as it is there."""
        self.refresh()
        self._showInViews(chart)

    def _showInViews(self, chart: Any = None, inTurns: bool = False) -> None:
        result = self._current()
        view = self._shownView(result) if result is not None else ""
        if self._state is None or result is None or not view:
            return
        shown = self.parts.over(result, self._channel)
        self._iteration = result.run, result_nodes.selectedIteration(result)
        self._views.show(shown, view, self._state.settings.opacity, self._channel, self._state.reference, chart, inTurns)

    def _browserMoved(self) -> None:
        """Somebody may have moved the browser from outside: slider and views follow."""
        result = self._current()
        if self._closed or self._state is None or result is None or not result_nodes.iterationCount(result):
            return
        self._showIterations(result)
        view = self._shownView(result)
        seen = view == "adversarial" or (view == "compare" and self._views.compares())
        if seen and self._iteration != (result.run, result_nodes.selectedIteration(result)):
            self._show()

    def _showChart(self) -> None:
        place = self.charts.currentIndex
        if self._state is not None and 0 <= place < len(self._charts):
            self._state.change(view="compare")
            self._show(self._charts[place])

    def _showConfiguration(self) -> None:
        result = self._current()
        if result is not None and result_nodes.alive(result.configuration):
            self.configuration.show(self.widget.window(), result.summary, result.configuration.GetText())

    def _delete(self) -> None:
        result = self._current()
        question = _('Remove "{run}" with all its images, segmentations and tables from the scene? The input stays.')
        if result is None or self._state is None or not self.confirm(question.format(run=result.summary)):
            return
        result_nodes.removeResult(self._scene, result)
        self._channel = ""
        self._state.change(run="")
        self._show()
        if not self._results:
            self.leaveViews()

    def _keepReferenceHidden(self, result: ResultNodes | None) -> None:
        """What was hidden comes back when another reference is chosen, which is hidden in its place, or no result is left."""
        reference = self._state.reference if self._state is not None and result is not None else None
        if self._scene is not None and self._state is not None and own_reference.bringBack(self._scene, reference):
            own_reference.hide(reference)

    def _found(self) -> list[ResultNodes]:
        """The runs in the scene, in the order of their making."""
        if self._scene is None or self._state is None:
            return []
        return [result_nodes.asResult(nodes) for nodes in self._findResults()]

    def _current(self) -> ResultNodes | None:
        """The run that was chosen, else the newest."""
        chosen = self._state.settings.run if self._state is not None else ""
        newest = self._results[-1] if self._results else None
        return next((x for x in self._results if x.run == chosen), newest)

    def _channelOf(self, result: ResultNodes) -> str:
        """The channel that is looked at: the one chosen, where the run has it."""
        channels = result_nodes.channelsOf(result)
        return self._channel if self._channel in channels or not channels else channels[0]

    def _shownView(self, result: ResultNodes) -> str:
        view = self._state.settings.view if self._state is not None else ""
        return viewable.chosenView(result, view, self._channel, self._layoutManager())

    def _problem(self, result: ResultNodes, view: str) -> str:
        """Why a view cannot be shown; empty if it can."""
        return viewable.problem(result, view, self._channel, self._layoutManager())


def _configurationTip(known: bool) -> str:
    return _("All settings with which this result can be made again") if known else _("It was deleted from the scene")


def _confirm(question: str) -> bool:
    return bool(slicer.util.confirmOkCancelDisplay(question, windowTitle=_("Delete a result")))
