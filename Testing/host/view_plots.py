"""Plot views of a layout: VTK charts made from the scene's chart, series and table nodes."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6 import QtWidgets

from .gate import hostWidget
from .view_base import Canvas, ControllerBar, ViewWidget, pictureOf

Series = slicer.vtkMRMLPlotSeriesNode
_TYPES = {
    Series.PlotTypeLine: vtk.vtkChart.LINE,
    Series.PlotTypeBar: vtk.vtkChart.BAR,
    Series.PlotTypeScatter: vtk.vtkChart.LINE,
    Series.PlotTypeScatterBar: vtk.vtkChart.BAR,
}
_LINES = {
    Series.LineStyleNone: vtk.vtkPen.NO_PEN,
    Series.LineStyleSolid: vtk.vtkPen.SOLID_LINE,
    Series.LineStyleDash: vtk.vtkPen.DASH_LINE,
    Series.LineStyleDot: vtk.vtkPen.DOT_LINE,
    Series.LineStyleDashDot: vtk.vtkPen.DASH_DOT_LINE,
    Series.LineStyleDashDotDot: vtk.vtkPen.DASH_DOT_DOT_LINE,
}
_MARKERS = {
    Series.MarkerStyleNone: vtk.vtkPlotPoints.NONE,
    Series.MarkerStyleCross: vtk.vtkPlotPoints.CROSS,
    Series.MarkerStylePlus: vtk.vtkPlotPoints.PLUS,
    Series.MarkerStyleSquare: vtk.vtkPlotPoints.SQUARE,
    Series.MarkerStyleCircle: vtk.vtkPlotPoints.CIRCLE,
    Series.MarkerStyleDiamond: vtk.vtkPlotPoints.DIAMOND,
}


def _floats(column: Any) -> Any:
    """A column's numbers, not quite as they are: VTK draws no chart of whole numbers in the host's other arrays."""
    values = vtk.vtkDoubleArray()
    values.SetName(column.GetName() or "")
    for n in range(column.GetNumberOfTuples()):
        values.InsertNextValue(column.GetVariantValue(n).ToDouble())
    return values


def _table(series: Any) -> Any:
    """A series' two columns as a table of doubles; None while it cannot be drawn."""
    node = series.GetTableNode()
    table = node.GetTable() if node is not None else None
    ordinate = table.GetColumnByName(series.GetYColumnName() or "") if table is not None else None
    if ordinate is None or not ordinate.GetNumberOfTuples():
        return None
    abscissa = table.GetColumnByName(series.GetXColumnName() or "")
    if abscissa is None:
        abscissa = vtk.vtkDoubleArray()
        abscissa.SetName("index")
        for n in range(ordinate.GetNumberOfTuples()):
            abscissa.InsertNextValue(n)
    drawn = vtk.vtkTable()
    x, y = _floats(abscissa), _floats(ordinate)
    x.SetName("x of the series")
    drawn.AddColumn(x)
    drawn.AddColumn(y)
    return drawn


def _addSeries(chart: Any, series: Any) -> None:
    table = _table(series)
    if table is None:
        return
    plot = chart.AddPlot(_TYPES[series.GetPlotType()])
    plot.SetInputData(table, 0, 1)
    plot.SetLabel(series.GetName())
    red, green, blue = series.GetColor()
    plot.SetColorF(red, green, blue, series.GetOpacity())
    plot.SetWidth(series.GetLineWidth())
    plot.GetPen().SetLineType(_LINES[series.GetLineStyle()])
    if hasattr(plot, "SetMarkerStyle"):
        plot.SetMarkerStyle(_MARKERS[series.GetMarkerStyle()])
        plot.SetMarkerSize(series.GetMarkerSize())
    if series.GetPlotType() == Series.PlotTypeBar:
        plot.GetPen().SetLineType(vtk.vtkPen.NO_PEN)


def _styleAxis(axis: Any, node: Any, letter: str, grid: bool) -> None:
    shown = getattr(node, f"Get{letter}AxisTitleVisibility")()
    axis.SetTitle((getattr(node, f"Get{letter}AxisTitle")() or "") if shown else "")
    axis.GetTitleProperties().SetFontSize(node.GetAxisTitleFontSize())
    axis.GetLabelProperties().SetFontSize(node.GetAxisLabelFontSize())
    axis.SetGridVisible(grid)
    axis.GetGridPen().SetColor(225, 225, 225)
    axis.SetLogScale(getattr(node, f"Get{letter}AxisLogScale")())
    if getattr(node, f"Get{letter}AxisRangeAuto")():
        axis.SetBehavior(vtk.vtkAxis.AUTO)
    else:
        axis.SetBehavior(vtk.vtkAxis.FIXED)
        axis.SetRange(*getattr(node, f"Get{letter}AxisRange")())


def fillChart(chart: Any, node: Any) -> None:
    """Make a VTK chart show what a chart node says."""
    chart.ClearPlots()
    if node is None:
        chart.SetVisible(False)
        return
    chart.SetVisible(True)
    chart.SetTitle((node.GetTitle() or "") if node.GetTitleVisibility() else "")
    chart.GetTitleProperties().SetFontSize(node.GetTitleFontSize())
    chart.SetShowLegend(bool(node.GetLegendVisibility()))
    chart.GetLegend().SetLabelSize(node.GetLegendFontSize())
    for n in range(node.GetNumberOfPlotSeriesNodes()):
        if node.GetNthPlotSeriesNode(n) is not None:
            _addSeries(chart, node.GetNthPlotSeriesNode(n))
    for place, letter in ((vtk.vtkAxis.BOTTOM, "X"), (vtk.vtkAxis.LEFT, "Y")):
        _styleAxis(chart.GetAxis(place), node, letter, bool(node.GetGridVisibility()))
    chart.RecalculateBounds()


@hostWidget("slicer", "qMRMLPlotViewControllerWidget")
class PlotController(ControllerBar):
    """The bar over a chart, with the chart's name."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.name = QtWidgets.QLabel(self)
        self.name.setStyleSheet("color: black; font-size: 8pt;")
        # a long name is cut off itself, and not the view's label
        self.name.setSizePolicy(QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Preferred)
        self.row.addWidget(self.name, 1)


@hostWidget("slicer", "qMRMLPlotView")
class PlotCanvas(Canvas):
    """The picture of a chart."""

    def __init__(self, widget: PlotWidget) -> None:
        super().__init__(widget, "#ffffff")
        self.widget = widget

    def chart(self) -> Any:
        return self.widget.chart

    def fitToContent(self) -> None:
        self.widget.chart.RecalculateBounds()


@hostWidget("slicer", "qMRMLPlotWidget")
class PlotWidget(ViewWidget):
    """A plot view with its bar."""

    def __init__(self, node: Any, applicationLogic: Any) -> None:
        super().__init__(node)
        self.chart = vtk.vtkChartXY()
        self.view: Any = None
        self.fill(PlotController(self), PlotCanvas(self))

    def showNode(self, _caller: Any = None) -> None:
        super().showNode()
        chart = self.node.GetPlotChartNode()
        self.bar.name.setText(chart.GetName() if chart is not None else "")

    def mrmlPlotViewNode(self) -> Any:
        return self.node

    def plotView(self) -> PlotCanvas:
        return self.picture

    def plotController(self) -> ControllerBar:
        return self.bar

    def draw(self) -> None:
        if self.view is None:
            self.view = vtk.vtkContextView()
            self.view.GetRenderWindow().SetOffScreenRendering(1)
            self.view.GetRenderWindow().SetMultiSamples(0)
            self.view.GetRenderer().SetBackground(1, 1, 1)
            self.view.GetScene().AddItem(self.chart)
        fillChart(self.chart, self.node.GetPlotChartNode())
        self.view.GetRenderWindow().SetSize(max(self.picture.width(), 2), max(self.picture.height(), 2))
        self.view.GetRenderWindow().Render()
        self.picture.setImage(pictureOf(self.view.GetRenderWindow()))

    def finish(self) -> None:
        super().finish()
        if self.view is not None:
            self.view.GetRenderWindow().Finalize()
