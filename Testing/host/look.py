"""The application and its look: the same light Fusion style on every machine, so that screenshots can be compared."""

from __future__ import annotations

from PySide6 import QtGui, QtWidgets

_COLORS = {
    "Window": "#f0f0f0",
    "WindowText": "#1a1a1a",
    "Base": "#ffffff",
    "AlternateBase": "#f6f6f6",
    "Text": "#1a1a1a",
    "Button": "#e8e8e8",
    "ButtonText": "#1a1a1a",
    "ToolTipBase": "#ffffdc",
    "ToolTipText": "#1a1a1a",
    "PlaceholderText": "#767676",
    "Highlight": "#2f6fb2",
    "HighlightedText": "#ffffff",
    "Link": "#1d5fa8",
}
_DISABLED = {"WindowText": "#8c8c8c", "Text": "#8c8c8c", "ButtonText": "#8c8c8c"}


def beforeApplication() -> None:
    """What must be set before there is an application."""
    QtWidgets.QApplication.setStyle("Fusion")


def application() -> QtWidgets.QApplication:
    """The one application, made if there is none, in the host's look."""
    app = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["SlicerHost"])
    app.setPalette(_palette())
    font = app.font()
    font.setPointSizeF(9.5)
    app.setFont(font)
    app.setQuitOnLastWindowClosed(False)
    return app


def _palette() -> QtGui.QPalette:
    palette = QtGui.QPalette()
    for role, color in _COLORS.items():
        palette.setColor(QtGui.QPalette.ColorRole[role], QtGui.QColor(color))
    for role, color in _DISABLED.items():
        palette.setColor(QtGui.QPalette.ColorGroup.Disabled, QtGui.QPalette.ColorRole[role], QtGui.QColor(color))
    return palette
