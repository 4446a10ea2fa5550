"""What happens in the views between two choices of the user: what has to wait for Qt, and what others change."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import qt
import vtk
from slicer.util import VTKObservationMixin

from SegAdversarialGui import display, layout, own_reference

if TYPE_CHECKING:
    from SegAdversarialLib.scene import ResultNodes
    from SegAdversarialLib.scene.steps import Steps

_LATER = 250
"""Milliseconds after which new views are there for certain, also on a busy machine."""


class ShownViews(VTKObservationMixin):
    """Shows results in the slice views, and looks after what they show.

    Args:
        parent: a widget, with which the timers end.
        layoutManager: gives Slicer's layout manager, or None where there is no window.
        browserMoved: called, once for all that happens until then, when somebody has moved the watched sequence browser.
    """

    def __init__(self, parent: Any, layoutManager: Callable[[], Any], browserMoved: Callable[[], None]) -> None:
        VTKObservationMixin.__init__(self)
        self._layoutManager = layoutManager
        self._placed: ResultNodes | None = None
        self._moved: list[Any] = []
        self._compared = False
        self._reference: Any = None
        self._browser: Any = None
        self._steps: Steps[None] | None = None
        self._turns, self._finishing, self._legends, self._following = (_timer(parent) for _n in range(4))
        self._turns.connect("timeout()", self._turn)
        self._finishing.connect("timeout()", self._finish)
        self._legends.connect("timeout()", self._drawLegends)
        self._following.connect("timeout()", browserMoved)
        if layoutManager() is not None:
            layoutManager().connect("layoutChanged(int)", self._layoutChanged)

    def show(
        self,
        result: ResultNodes,
        view: str,
        opacity: float,
        channel: str,
        reference: Any,
        chart: Any = None,
        inTurns: bool = False,
    ) -> None:
        """Show a result, see `display.showingSteps`.

        Args:
            reference: the reference that the user has chosen, which would cover the answers.
            inTurns: let the window answer between two views; for a result that has just come. Otherwise all is shown when
                this returns.
        """
        self._turns.stop()
        steps = display.showingSteps(self._layoutManager(), result, view, opacity, channel, chart)
        self._steps = self._showing(steps, result, view, reference)
        if inTurns:
            self._turns.start(0)
        else:
            for _step in self._steps:
                pass

    def _showing(self, steps: Steps[list[Any]], result: ResultNodes, view: str, reference: Any) -> Steps[None]:
        moved = yield from steps
        own_reference.hide(reference)
        self._compared, self._reference = view == "compare", reference
        if moved:
            # views that have just appeared get their size when Qt has laid them out
            self._placed, self._moved = result, moved
            self._finishing.start(0)

    def _turn(self) -> None:
        """One step, and then a turn for everything else in the window."""
        if self._layoutManager() is None or self._steps is None:
            return
        if next(self._steps, self) is self:
            self._steps = None
        else:
            self._turns.start(0)

    def watch(self, browser: Any) -> None:
        """Look after another sequence browser; None: after none."""
        if browser is not self._browser:
            self.removeObservers(self._browserModified)
            self._browser = browser
            if browser is not None:
                self.addObserver(browser, vtk.vtkCommand.ModifiedEvent, self._browserModified)

    def compares(self) -> bool:
        """Whether the results are compared in our layout now."""
        return layout.isShown(self._layoutManager())

    def leave(self, scene: Any) -> None:
        """Give the user back what there was before results were shown."""
        self._forget()
        if self._layoutManager() is not None:
            layout.leaveLayout(self._layoutManager())
        if scene is not None:
            own_reference.bringBack(scene)

    def cleanup(self) -> None:
        """Do nothing any more, also not what is due already."""
        self._forget()
        self._legends.stop()
        self._following.stop()
        self.watch(None)
        if self._layoutManager() is not None:
            self._layoutManager().disconnect("layoutChanged(int)", self._layoutChanged)

    def _forget(self) -> None:
        self._turns.stop()
        self._finishing.stop()
        self._steps = None
        self._compared, self._reference = False, None

    def _finish(self) -> None:
        if self._layoutManager() is not None and self._placed is not None:
            self._steps = self._finishingSteps(self._placed)
            self._turns.start(0)

    def _finishingSteps(self, placed: ResultNodes) -> Steps[None]:
        yield from display.finishingSteps(self._layoutManager(), placed, self._moved)
        yield
        self._drawLegends()
        self._legends.start(_LATER)

    def _drawLegends(self) -> None:
        if self._layoutManager() is not None:
            display.drawLegends(self._layoutManager().mrmlScene(), self._moved)

    def _browserModified(self, _caller: Any = None, _event: Any = None) -> None:
        self._following.start(0)

    def _layoutChanged(self, _layout: int) -> None:
        """The user's reference is hidden only where results are compared."""
        if not self._compared:
            return
        if self.compares():
            own_reference.hide(self._reference)
        else:
            own_reference.bringBack(self._layoutManager().mrmlScene())


def _timer(parent: Any) -> Any:
    """A timer that fires once; one of our own, because each of `QTimer.singleShot` stays as long as Slicer."""
    timer = qt.QTimer(parent)
    timer.setSingleShot(True)
    return timer
