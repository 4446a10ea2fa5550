"""The Attack section on a parameter node of its own, as a test drives it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gui_helpers import putAway, settle


class Stage:
    """An Attack section, alone in a window, on a real parameter node."""

    def __init__(self, entries: Callable[[], Any] | None = None) -> None:
        import qt
        import slicer
        from SegAdversarialGui import catalog
        from SegAdversarialGui.attack_section import AttackSection
        from SegAdversarialGui.state import State

        self.scene = slicer.mrmlScene
        self.node = self.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
        self.state = State(self.node)
        self.section = AttackSection(entries or catalog.attacks)
        self.node.AddObserver("ModifiedEvent", lambda *_: self.section.refresh())
        self.window = qt.QWidget()
        layout = qt.QVBoxLayout(self.window)
        layout.addWidget(self.section.widget)
        layout.addStretch(1)
        self.window.resize(400, 900)
        self.window.show()
        self.section.setState(self.state)
        self.section.setNetwork(network())

    @property
    def changed(self) -> dict[str, Any]:
        return self.state.attackSettings(self.state.settings.attack)

    def label(self, field: str) -> Any:
        import qt

        return self.find(qt.QLabel, self.widget(field).objectName + "Label")

    def widget(self, field: str) -> Any:
        return self.section.editors[field].widget

    def find(self, kind: Any, name: str = "") -> Any:
        found = self.section.widget.findChildren(kind, name) if name else self.section.widget.findChildren(kind)
        return found[0] if name and len(found) == 1 else found

    def visible(self, widget: Any) -> bool:
        settle()
        return bool(widget.isVisibleTo(self.window))


def network(**changes: Any) -> Any:
    from SegAdversarialGui.catalog import NetworkEntry

    return NetworkEntry(
        **{
            "name": "toy",
            "channels": ("T1", "T2", "FLAIR"),
            "classes": ((0, "background"), (1, "core"), (2, "oedema"), (4, "whole tumour")),
            "head": "softmax",
            "grid": "",
            "sizeBytes": 1,
            "needsTrust": False,
            "description": "",
            "structures": ("core", "oedema", "whole tumour"),
            "targets": ((0, "background"), (1, "core"), (2, "oedema"), ("whole tumour", "whole tumour")),
            **changes,
        }
    )


@pytest.fixture(name="stage")
def _stage(slicerHost: Any) -> Iterator[Stage]:
    made = Stage()
    yield made
    putAway(made)
