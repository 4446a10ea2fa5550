"""The rows of the Defend section that say what a network learns from."""

from __future__ import annotations

import os
from typing import Any

import qt
from slicer.i18n import tr as _

from SegAdversarialGui import widgets
from SegAdversarialGui.state import State

_FOLDER, _LOADED, _SYNTHETIC = "folder", "loaded", "synthetic"
_FIRST_SEED = 1000
"""Synthetic subjects below this one are for trying networks out, and for their tests."""
_SMALLEST, _LARGEST, _MOST = 32, 256, 500


class TrainingCases:
    """Chooses the cases: a folder of any layout, the images chosen in the panel, or synthetic subjects.

    Args:
        form: the layout that takes the rows.
    """

    def __init__(self, form: Any) -> None:
        self._form = form
        self._state: State | None = None
        self.kinds = widgets.combo()
        for text, kind in ((_("Folder"), _FOLDER), (_("Loaded images"), _LOADED), (_("Synthetic subjects"), _SYNTHETIC)):
            self.kinds.addItem(text, kind)
        self.kinds.connect("currentIndexChanged(int)", self._kindChosen)
        tip = _("What the network learns from; a fifth of the subjects is kept to measure it on")
        widgets.row(form, _("Learns from"), self.kinds, "trainFromSelector", tip)
        self.line = widgets.casesLine()
        self.line.comboBox().connect("editTextChanged(QString)", self._pathEdited)
        tip = _(
            "A folder of subjects with references, laid out as BraTS, Medical Segmentation Decathlon or nnU-Net are, or one "
            "folder for each subject; or a CSV file that lists them"
        )
        widgets.row(form, _("Cases"), self.line, "trainCasesLine", tip)
        self.subjects = _spin(1, _MOST)
        self.subjects.connect("valueChanged(int)", lambda value: self._change(trainSubjects=value))
        widgets.row(form, _("Subjects"), self.subjects, "trainSubjectsSpin", _("How many synthetic subjects are made"))
        self.size = _spin(_SMALLEST, _LARGEST)
        self.size.suffix = _(" voxels")
        self.size.connect("valueChanged(int)", lambda value: self._change(trainSize=value))
        widgets.row(form, _("Size"), self.size, "trainSizeSpin", _("Voxels along each side of a synthetic subject"))
        self.note = widgets.note("trainCasesNote")
        form.addRow(self.note)

    def setState(self, state: State | None) -> None:
        """Show another parameter node; None: none."""
        self._state = state

    def refresh(self) -> None:
        """Show the state."""
        if self._state is None:
            return
        settings = self._state.settings
        kind = settings.trainFrom
        with widgets.blocked(self.kinds):
            self.kinds.setCurrentIndex(self.kinds.findData(kind))
        widgets.shown(self.line, self._form, kind == _FOLDER)
        if self.line.currentPath != settings.trainCases:
            with widgets.blocked(self.line.comboBox()):
                self.line.currentPath = settings.trainCases
        for spin, value in ((self.subjects, settings.trainSubjects), (self.size, settings.trainSize)):
            widgets.shown(spin, self._form, kind == _SYNTHETIC)
            with widgets.blocked(spin):
                spin.setValue(value)
        few = _("One case is few: it shows that training works; a network that is of use wants dozens.")
        widgets.say(self.note, few if kind == _LOADED else "")

    def problems(self) -> list[str]:
        """What is missing, one sentence each; whether the folder holds cases is found out when training starts."""
        if self._state is None or self._state.settings.trainFrom != _FOLDER:
            return []
        path = self._state.settings.trainCases.strip()
        if not path:
            return [_("Choose the folder of the training cases.")]
        return [] if os.path.exists(path) else [_("There is no folder {path} of training cases.").format(path=path)]

    def cohort(self) -> str:
        """The cases by the name that the library knows them by; nothing: the images chosen in the panel."""
        assert self._state is not None
        settings = self._state.settings
        if settings.trainFrom == _SYNTHETIC:
            last = _FIRST_SEED + settings.trainSubjects - 1
            return f"phantom:{_FIRST_SEED}-{last}@{settings.trainSize}"
        return os.path.abspath(settings.trainCases.strip()) if settings.trainFrom == _FOLDER else ""

    def tabOrder(self) -> list[Any]:
        """The widgets that take the keyboard, in reading order."""
        return [self.kinds, self.line.comboBox(), self.subjects, self.size]

    def _kindChosen(self, index: int) -> None:
        if index >= 0:
            self._change(trainFrom=self.kinds.itemData(index))

    def _pathEdited(self, path: str) -> None:
        self._change(trainCases=path)

    def _change(self, **changes: Any) -> None:
        if self._state is not None:
            self._state.change(**changes)


def _spin(low: int, high: int) -> Any:
    box = qt.QSpinBox()
    box.minimum, box.maximum = low, high
    return box
