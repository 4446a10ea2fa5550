"""Slicer's main window: the module panel on the left, the views on the right, and pictures of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Qt, Signal

from .gate import hostWidget
from .mrml_widget import SlicerWidget
from .slicer_modules import ModuleManager, ScriptedModule

PANEL_WIDTH = 400
SIZE = (1280, 800)


@hostWidget("slicer", "qSlicerModulePanel")
class ModulePanel(SlicerWidget):
    """Shows the selected module's panel, which can be scrolled, under a line with its name."""

    def __init__(self, manager: ModuleManager, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("ModulePanel")
        self.manager = manager
        self.shown: Any = None
        self.title = QtWidgets.QLabel(self)
        self.title.setObjectName("ModuleTitle")
        self.title.setStyleSheet("font-weight: bold; padding: 4px 6px; background: palette(mid);")
        self.area = QtWidgets.QScrollArea(self)
        self.area.setObjectName("ModuleScrollArea")
        self.area.setWidgetResizable(True)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.area.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)
        self.area.setFrameShape(QtWidgets.QFrame.Shape.NoFrame)
        self.holder = QtWidgets.QWidget()
        column = QtWidgets.QVBoxLayout(self.holder)
        column.setContentsMargins(0, 0, 0, 0)
        self.area.setWidget(self.holder)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.title)
        layout.addWidget(self.area)

    def setModule(self, name: str) -> None:
        """Leave the module that is shown and enter another; "": none."""
        self.leave()
        module = self.manager.module(name) if name else None
        if isinstance(module, ScriptedModule):
            self.shown = module.widgetRepresentation()
            self.title.setText(module.title())
            self.holder.layout().addWidget(self.shown, 1)
            # as in Slicer: the panel is never narrower than the module would like to be
            policy = self.shown.sizePolicy()
            policy.setHorizontalPolicy(QtWidgets.QSizePolicy.Policy.Minimum)
            self.shown.setSizePolicy(policy)
            self.shown.show()
            self.shown.installEventFilter(self)
            self.updateGeometry()
            self.shown.enter()

    def leave(self) -> None:
        """Show no module."""
        if self.shown is not None:
            shown, self.shown = self.shown, None
            shown.exit()
            shown.removeEventFilter(self)
            self.holder.layout().removeWidget(shown)
            shown.setParent(None)
            self.title.setText("")
            self.updateGeometry()

    def eventFilter(self, _module: QtCore.QObject, event: QtCore.QEvent) -> bool:
        if event.type() == QtCore.QEvent.Type.Resize:
            self.updateGeometry()
        return False

    def minimumSizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(self.neededWidth(), super().minimumSizeHint().height())

    def neededWidth(self) -> int:
        """How wide the panel makes itself, in pixels: Slicer takes a module's preferred width for its least one."""
        return self.holder.minimumSizeHint().width() + self.area.verticalScrollBar().sizeHint().width()


@hostWidget("slicer", "qSlicerModuleSelectorToolBar")
class ModuleSelector(QtWidgets.QToolBar):
    """The tool bar in which a module is chosen."""

    moduleSelected = Signal(str)

    def __init__(self, manager: ModuleManager, panel: ModulePanel, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.panel = panel
        self.setObjectName("ModuleSelectorToolBar")
        self.setWindowTitle("Module Selection")
        self.setMovable(False)
        self.manager = manager
        self.current = ""
        self.addWidget(QtWidgets.QLabel("Modules: ", self))
        self.box = QtWidgets.QComboBox(self)
        self.box.setObjectName("ModuleComboBox")
        self.box.setMinimumWidth(220)
        self.addWidget(self.box)
        self.box.activated.connect(lambda n: self.selectModule(self.box.itemData(n)))

    def selectedModule(self) -> str:
        return self.current

    def selectModule(self, name: str) -> None:
        module = self.manager.module(name)
        if not isinstance(module, ScriptedModule):
            raise NotImplementedError(f"the host has no module {name} with a panel")
        if self.box.findData(name) < 0:
            self.box.addItem(module.title(), name)
        self.box.setCurrentIndex(self.box.findData(name))
        self.current = name
        # not by the signal, from which no exception would come back
        self.panel.setModule(name)
        self.moduleSelected.emit(name)

    def forget(self, name: str) -> None:
        """A module is unloaded."""
        self.box.removeItem(self.box.findData(name))
        if self.current == name:
            self.current = ""


@hostWidget("slicer", "qSlicerMainWindow")
class MainWindow(QtWidgets.QMainWindow):
    """The window of Slicer's application, as far as a module meets it."""

    initialWindowShown = Signal()

    def __init__(self, manager: ModuleManager, layouts: Any) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self.setWindowTitle("3D Slicer")
        self.layouts = layouts
        self.panel = ModulePanel(manager, self)
        self.dock = QtWidgets.QDockWidget(self)
        self.dock.setObjectName("PanelDockWidget")
        self.dock.setTitleBarWidget(QtWidgets.QWidget(self.dock))
        self.dock.setWidget(self.panel)
        self.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, self.dock)
        self.selector = ModuleSelector(manager, self.panel, self)
        self.addToolBar(self.selector)
        manager.moduleAboutToBeUnloaded.connect(self._unload)
        self.viewport = QtWidgets.QFrame(self)
        self.viewport.setObjectName("CentralWidgetLayoutFrame")
        self.setCentralWidget(self.viewport)
        self.setStatusBar(QtWidgets.QStatusBar(self))
        layouts.setViewport(self.viewport)
        self.takeSize(*SIZE)

    def takeSize(self, width: int, height: int) -> None:
        """Be of a size, as far as panel and views fit into it, with a panel of the usual width; as in Slicer a window whose
        contents ask for more grows."""
        self.resize(width, height)
        self.settle()
        self.resizeDocks([self.dock], [PANEL_WIDTH], Qt.Orientation.Horizontal)

    def moduleSelector(self) -> ModuleSelector:
        return self.selector

    def pythonConsole(self) -> None:
        """There is none in the host."""

    def _unload(self, name: str) -> None:
        if self.panel.shown is not None and self.panel.shown.moduleName() == name:
            self.panel.leave()
        self.selector.forget(name)

    def settle(self) -> None:
        """Let everything take its final place and size."""
        for _ in range(3):
            QtWidgets.QApplication.sendPostedEvents()
            QtWidgets.QApplication.processEvents(QtCore.QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents)

    def grabTo(self, path: str | Path) -> Path:
        """Draw all views and write a picture of the whole window as PNG."""
        self.settle()
        self.layouts.renderAll()
        self.settle()
        return _save(self.grab(), path)

    def grabPanel(self, path: str | Path, width: int = PANEL_WIDTH) -> Path:
        """Write a picture of the module's panel in its full height as PNG, as wide as asked for.

        Raises:
            ValueError: no module is shown.
        """
        if self.panel.shown is None:
            raise ValueError("no module is selected")
        inside = self.panel.area.takeWidget()
        inside.setAttribute(Qt.WidgetAttribute.WA_DontShowOnScreen, True)
        try:
            inside.setFixedWidth(width)
            inside.show()
            self.settle()
            inside.resize(width, max(inside.minimumSizeHint().height(), inside.heightForWidth(width)))
            self.settle()
            return _save(inside.grab(), path)
        finally:
            inside.setMinimumWidth(0)
            inside.setMaximumWidth(16777215)
            inside.setAttribute(Qt.WidgetAttribute.WA_DontShowOnScreen, False)
            self.panel.area.setWidget(inside)
            inside.show()


def _save(picture: Any, path: str | Path) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not picture.save(str(path), "PNG"):
        raise OSError(f"cannot write {path}")
    return path
