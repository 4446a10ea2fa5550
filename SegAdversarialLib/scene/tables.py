"""Metrics and traces as table nodes, and Dice against iteration as a plot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from SegAdversarialLib.scene.application import add_node
from SegAdversarialLib.scene.segmentations import color_of

_WITHOUT_DROP = ("HD95", "Volume")
_DICE = "dice "
_MEAN = "dice mean"
_BUDGET = "at budget"
# Slicer draws the legend over the upper right of the chart; as a share of the iterations
_ROOM_FOR_LEGEND = 0.6
_MEAN_COLOR = (0.25, 0.25, 0.25)


def add_metrics_table(scene: Any, name: str, rows: Sequence[Mapping[str, Any]]) -> Any:
    """Add a table with a column for each key that occurs in the rows.

    All columns hold text: a row need not have every key, and a missing number shows as "-" instead of as a false 0.
    """
    import vtk

    node = add_node(scene, "vtkMRMLTableNode", name)
    # the unit last: in a narrow panel what is before and after matters more
    for key in sorted(_keys(rows), key=lambda x: x == "unit"):
        column = vtk.vtkStringArray()
        column.SetName(key)
        for row in rows:
            # neither more nor less of a distance or a volume is better: there is no drop, not an undefined one
            shown = key != "drop" or row.get("metric") not in _WITHOUT_DROP
            column.InsertNextValue(as_text(row.get(key) if shown else None))
        node.AddColumn(column)
    node.SetLocked(True)
    node.SetUseColumnTitleAsColumnHeader(True)
    return node


def add_trace_tables(scene: Any, name: str, trace: Sequence[Mapping[str, float]]) -> dict[int, Any]:
    """Add one table of numbers for each restart of an attack; a row for each iteration."""
    restarts = sorted({int(row.get("restart", 0)) for row in trace})
    tables = {}
    for restart in restarts:
        rows = [row for row in trace if int(row.get("restart", 0)) == restart]
        rows.sort(key=lambda row: row.get(_BUDGET, 0.0))  # a curve against the budget goes from left to right
        label = name if len(restarts) == 1 else f"{name}, restart {restart}"
        tables[restart] = add_number_table(scene, label, rows)
    return tables


def add_dice_plot(
    scene: Any, name: str, title: str, tables: Mapping[int, Any], classes: Mapping[int, str]
) -> tuple[Any, list[Any]]:
    """Add the chart "Dice against iteration", or, of a search for the least budget, against the budget.

    One curve for each structure and one for their mean; with several restarts, the mean of each restart only.

    Args:
        title: what stands above the chart.
        tables: the trace's table of each restart.
        classes: name by label value; a structure with such a name gets the class's colour.

    Returns:
        The chart node and its series nodes.
    """
    x = x_of(tables)
    chart = add_chart(scene, name, title, x.capitalize(), "Dice")
    chart.SetYAxisRangeAuto(False)
    chart.SetYAxisRange(0.0, 1.0)
    leave_room_for_legend(chart, *_ends(tables, x))
    several = len(tables) > 1
    series = []
    for restart, table in tables.items():
        columns = [table.GetColumnName(n) for n in range(table.GetNumberOfColumns())]
        shown = [x for x in columns if x == _MEAN or (x.startswith(_DICE) and not several)]
        for place, column in enumerate(shown):
            label = f"restart {restart}" if several else column.removeprefix(_DICE)
            color = color_of(restart + 1) if several else _curve_color(column, place, classes)
            series.append(add_series(scene, label, table, column, color, thick=column == _MEAN, x=x))
            chart.AddAndObservePlotSeriesNodeID(series[-1].GetID())
    return chart, series


def add_chart(scene: Any, name: str, title: str, x: str, y: str) -> Any:
    """Add a chart without curves, with the titles of its axes."""
    chart = add_node(scene, "vtkMRMLPlotChartNode", name)
    chart.SetTitle(title)
    # Slicer's own sizes leave no room for the curves in a view that is a part of the screen
    chart.SetTitleFontSize(14)
    chart.SetAxisTitleFontSize(12)
    chart.SetAxisLabelFontSize(11)
    chart.SetLegendFontSize(11)
    chart.SetXAxisTitle(x)
    chart.SetYAxisTitle(y)
    return chart


def leave_room_for_legend(chart: Any, first: float, last: float) -> None:
    """Let a chart's x axis go from the first to beyond the last value."""
    chart.SetXAxisRangeAuto(False)
    chart.SetXAxisRange(first, last + _ROOM_FOR_LEGEND * ((last - first) or 1.0))


def as_text(value: Any) -> str:
    """A cell of a table: numbers to four decimals or significant digits, "-" for what is missing.

    An empty cell at the end of a line would be lost when the table is read from a scene file.
    """
    if value is None or value == "":
        return "-"
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    if not math.isfinite(value):
        return "undefined" if math.isnan(value) else str(value)
    return f"{value:.4f}" if 0.001 <= abs(value) < 1000 else f"{value:.4g}"


def _keys(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))


def x_of(tables: Mapping[int, Any]) -> str:
    """The column that Dice is drawn against: the budget where the rows of a trace have one, or else the iteration."""
    has = any(table.GetTable().GetColumnByName(_BUDGET) is not None for table in tables.values())
    return _BUDGET if has else "iteration"


def _ends(tables: Mapping[int, Any], x: str) -> tuple[float, float]:
    """The first and the last value of that column in all restarts."""
    columns = [table.GetTable().GetColumnByName(x) for table in tables.values()]
    values = [x.GetValue(n) for x in columns if x is not None for n in (0, x.GetNumberOfTuples() - 1)]
    return (min(values), max(values)) if values else (0.0, 1.0)


def add_number_table(scene: Any, name: str, rows: Sequence[Mapping[str, float]]) -> Any:
    """Add a table of numbers with a column for each key that occurs in the rows; a missing number is nan."""
    import vtk

    node = add_node(scene, "vtkMRMLTableNode", name)
    for key in _keys(rows):
        column = vtk.vtkDoubleArray()
        column.SetName(key)
        for row in rows:
            column.InsertNextValue(float(row.get(key, math.nan)))
        node.AddColumn(column)
    node.SetLocked(True)
    node.SetUseColumnTitleAsColumnHeader(True)
    return node


def add_series(
    scene: Any,
    name: str,
    table: Any,
    column: str,
    color: tuple[float, float, float],
    thick: bool = False,
    x: str = "iteration",
) -> Any:
    """Add a curve of one column of a table against another."""
    series = add_node(scene, "vtkMRMLPlotSeriesNode", name)
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName(x)
    series.SetYColumnName(column)
    series.SetPlotType(series.PlotTypeScatter)
    series.SetMarkerStyle(series.MarkerStyleCircle)
    series.SetMarkerSize(6.0)
    series.SetLineWidth(3.0 if thick else 2.0)
    series.SetColor(*color)
    return series


def _curve_color(column: str, place: int, classes: Mapping[int, str]) -> tuple[float, float, float]:
    if column == _MEAN:
        return _MEAN_COLOR
    value = next((value for value, name in classes.items() if name == column.removeprefix(_DICE)), place + 1)
    return color_of(value)
