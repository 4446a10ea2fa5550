"""Figures that belong to no volume: what an audit found, and how a training goes while it goes on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from SegAdversarialLib.scene.application import added_whole, current_scene
from SegAdversarialLib.scene.nodes import FigureNodes
from SegAdversarialLib.scene.runs import AUDIT, TRAINING, Run
from SegAdversarialLib.scene.segmentations import color_of
from SegAdversarialLib.scene.steps import Steps, finished
from SegAdversarialLib.scene.tables import (
    add_chart,
    add_metrics_table,
    add_number_table,
    add_series,
    leave_room_for_legend,
)

EPOCH, LOSS, DICE, EPSILON = "epoch", "loss", "Dice", "epsilon"
"""Columns of the tables of trainings and audits."""

_DARK, _LOSS_COLOR = (0.25, 0.25, 0.25), (0.85, 0.45, 0.10)
_MOST_STRUCTURES = 6
"""A chart with more curves than that cannot be read."""


def add_audit(
    rows: Sequence[Mapping[str, Any]],
    epsilons: Sequence[Mapping[str, Any]],
    scene: Any = None,
    *,
    title: str = "audit",
    record: Mapping[str, Any] | None = None,
) -> FigureNodes:
    """Add what an audit found to a scene: its checks as a table, and Dice against epsilon as a chart.

    Args:
        rows: the checks: check, verdict, number, sentence.
        epsilons: Dice by epsilon, a column for each kind of attack.
        scene: Slicer's own unless given.
        title: the folder's name, which the nodes' names end with.
        record: how it was made, as plain JSON data; its rows unless given.
    """
    return finished(audit_steps(rows, epsilons, scene, title=title, record=record))


def audit_steps(
    rows: Sequence[Mapping[str, Any]],
    epsilons: Sequence[Mapping[str, Any]],
    scene: Any = None,
    *,
    title: str = "audit",
    record: Mapping[str, Any] | None = None,
) -> Steps[FigureNodes]:
    """`add_audit` in steps."""
    scene = current_scene(scene)
    numbers = [{key: _number(x) for key, x in row.items() if key != "strongest"} for row in epsilons]

    def add() -> Steps[FigureNodes]:
        run = Run(scene, AUDIT, title, {})
        drawn = run.file(add_number_table(scene, f"Dice by epsilon - {title}", numbers), "numbers")
        yield None
        chart = add_chart(scene, f"Dice against epsilon - {title}", "Audit: Dice against epsilon", "Epsilon", "Dice")
        chart.SetYAxisRangeAuto(False)
        chart.SetYAxisRange(0.0, 1.0)
        columns = [x for x in dict.fromkeys(key for row in numbers for key in row) if x != EPSILON]
        shown = [x for x in columns if not x.startswith("audited Dice ")]
        series = []
        for place, column in enumerate(shown):
            thick = column == "audited Dice"
            color = _DARK if thick else color_of(place + 1)
            series.append(add_series(scene, column, drawn, column, color, thick, EPSILON))
            chart.AddAndObservePlotSeriesNodeID(series[-1].GetID())
        run.file(chart, "chart")
        run.file_all(series, "chart")
        yield None
        return FigureNodes(
            run=run.identifier,
            summary=title,
            folder=run.folder,
            table=run.file_table(add_metrics_table(scene, f"checks - {title}", rows)),
            numbers=drawn,
            chart=chart,
            series=series,
            configuration=run.add_configuration(record or {"audit": list(rows), "epsilons": list(epsilons)}),
        )

    return (yield from added_whole(scene, add()))


class TrainingCurves:
    """A training in a scene while it goes on: a table with a row for each epoch, and a chart of loss and Dice.

    Args:
        scene: Slicer's own unless given.
        title: the folder's name, which the nodes' names end with.
        record: how it is trained, as plain JSON data.
        classes: name by label value; the Dice of a structure with such a name gets the class's colour.

    Attributes:
        nodes: what is in the scene; None before the first row.
    """

    def __init__(
        self,
        scene: Any = None,
        *,
        title: str = "training",
        record: Mapping[str, Any] | None = None,
        classes: Mapping[int, str] | None = None,
    ) -> None:
        self._scene, self._title, self._record = current_scene(scene), title, dict(record or {})
        self._values = {name: value for value, name in (classes or {}).items()}
        self._rows: list[dict[str, float]] = []
        self.nodes: FigureNodes | None = None

    @property
    def there(self) -> bool:
        """Whether the nodes are still in the scene; also before there are any."""
        if self.nodes is None:
            return True
        return all(x is not None and x.GetScene() is self._scene for x in (self.nodes.table, self.nodes.chart))

    def add(self, row: Mapping[str, Any]) -> None:
        """Add an epoch, whose number counts from 0, and is shown from 1. What the user has deleted is not made again."""
        # an epoch that is told again takes the place of what was told of it
        epoch = float(row[EPOCH]) + 1
        self._rows = [x for x in self._rows if x[EPOCH] < epoch]
        self._rows.append({**{key: _number(x) for key, x in row.items()}, EPOCH: epoch})
        if self.nodes is None:
            self.nodes = finished(added_whole(self._scene, self._begin()))
        elif self.there:
            _fill(self.nodes.table, self._rows)
            leave_room_for_legend(self.nodes.chart, 1.0, epoch)

    def _begin(self) -> Steps[FigureNodes]:
        run = Run(self._scene, TRAINING, self._title, {})
        table = add_number_table(self._scene, f"epochs - {self._title}", self._rows)
        chart = add_chart(self._scene, f"loss and Dice - {self._title}", "Training: loss and Dice", "Epoch", "Loss, Dice")
        leave_room_for_legend(chart, 1.0, self._rows[-1][EPOCH])
        series = []
        columns = list(self._rows[-1])
        structures = [x for x in columns if x.startswith(f"{DICE} ")][:_MOST_STRUCTURES]
        for place, column in enumerate([x for x in (LOSS, DICE, *structures) if x in columns]):
            thick = column in (LOSS, DICE)
            value = self._values.get(column.removeprefix(f"{DICE} "), place - 1)
            color = {LOSS: _LOSS_COLOR, DICE: _DARK}.get(column) or color_of(value)
            series.append(add_series(self._scene, column, table, column, color, thick, EPOCH))
            chart.AddAndObservePlotSeriesNodeID(series[-1].GetID())
        yield None
        run.file(chart, "chart")
        run.file_all(series, "chart")
        return FigureNodes(
            run=run.identifier,
            summary=self._title,
            folder=run.folder,
            table=run.file_table(table),
            numbers=table,
            chart=chart,
            series=series,
            configuration=run.add_configuration(json.loads(json.dumps(self._record, default=str))),
        )


def _fill(node: Any, rows: Sequence[Mapping[str, float]]) -> None:
    """Write rows of numbers into a table, in one event."""
    import vtk

    modifying = node.StartModify()
    table = node.GetTable()
    for key in dict.fromkeys(key for row in rows for key in row):
        known = table.GetColumnByName(key)
        column = known or vtk.vtkDoubleArray()
        column.SetNumberOfTuples(len(rows))
        for n, row in enumerate(rows):
            column.SetValue(n, row.get(key, math.nan))
        column.Modified()
        if known is None:
            column.SetName(key)
            table.AddColumn(column)
    table.Modified()
    node.Modified()
    node.EndModify(modifying)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan
