"""The panel's Study section: a study file is chosen and run, its results come in as rows, and the report is opened."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _

from SegAdversarialGui import trust, widgets
from SegAdversarialGui.state import State

_ATTACK, _BEFORE, _AFTER, _CASE, _NETWORK = range(5)
_WIDTHS = (140, 52, 52, 84, 90)
_HEIGHT = 190
_MOST_ROWS = 5000
"""More cannot be looked at; all of them stand in the report and the files beside it."""
_PACKAGES = 'slicer.util.pip_install("dask distributed PyYAML matplotlib")'


class StudySection:
    """Study file, the rows of what is finished, and what can be done with them.

    Args:
        onRun: called when the user wants the study to be run, or gone on with.
        onReport: called with the path of the report that is to be shown.
        onLoad: called with the row whose case the user wants to see.
    """

    def __init__(
        self,
        onRun: Callable[[], None],
        onReport: Callable[[str], None],
        onLoad: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self._state: State | None = None
        self._rows: dict[str, Mapping[str, Any]] = {}
        self._known: tuple[Any, ...] = ()
        self._problem = self._busy = ""
        self._onLoad = onLoad
        self.widget, form = widgets.section(_("Study"), "studySection", collapsed=True)
        self.widget.toolTip = _("Attack many cases and networks as a file says, and report what comes out")
        self.fileLine = widgets.pathLine(ctk.ctkPathLineEdit.Files, [_("Studies") + " (*.yaml *.yml)"])
        tip = _("A study file (YAML): cohort, networks, attacks; or the folder of a study that has been begun")
        widgets.row(form, _("Study"), self.fileLine, "studyFileLine", tip)
        self.fileLine.comboBox().connect("editTextChanged(QString)", self._fileEdited)
        self.note = widgets.note("studyNote")
        form.addRow(self.note)
        self.problemNote = widgets.note("studyProblemNote", problem=True)
        form.addRow(self.problemNote)
        self.runButton = widgets.button(_("Run study"), "runStudyButton", "")
        self.runButton.connect("clicked(bool)", lambda _checked=False: onRun())
        self.reportButton = widgets.button(_("Open report"), "openReportButton", "")
        self.reportButton.connect("clicked(bool)", lambda _checked=False: onReport(self.report()))
        buttons = qt.QHBoxLayout()
        buttons.addWidget(self.runButton)
        buttons.addWidget(self.reportButton)
        form.addRow(buttons)
        form.addRow(self._makeTable())
        self.loadButton = widgets.button(_("Load case"), "loadStudyCaseButton", "")
        self.loadButton.connect("clicked(bool)", lambda _checked=False: self._load(self.table.currentRow()))
        form.addRow(self.loadButton)
        self.setProblems([], False)

    def setScene(self, scene: Any) -> None:
        """Nothing here depends on the scene."""

    def setState(self, state: State | None) -> None:
        """Show the choices of a parameter node; None: of no node."""
        self._state = state
        self.refresh()

    def refresh(self) -> None:
        """Show the state."""
        if self._state is not None and self.fileLine.currentPath != self._state.settings.studyFile:
            with widgets.blocked(self.fileLine.comboBox()):
                self.fileLine.currentPath = self._state.settings.studyFile

    def setProblems(self, problems: list[str], busy: bool) -> None:
        """Let the buttons work, or say what is missing: one sentence for each thing."""
        running = [_("Something is running; wait for it or cancel it.")] if busy else []
        missing = running or problems
        ready = _("Attack all cases as the file says; what an earlier run has finished is not done again")
        self.runButton.setEnabled(not missing)
        self.runButton.toolTip = widgets.tip("\n".join(missing) if missing else ready)
        there = os.path.isfile(self.report())
        self.reportButton.setEnabled(there)
        shown = _("Show the report in the web browser") if there else _("There is a report once the study has been run")
        self.reportButton.toolTip = widgets.tip(shown)
        self._busy = "\n".join(running)
        self._showLoadButton()

    def problems(self) -> list[str]:
        """What is missing for a run, one sentence each."""
        path = self.path()
        if not path:
            self._look((), "", "")
            return [_("Choose a study file.")]
        try:
            known = (path, os.stat(path).st_mtime_ns)
        except OSError:
            known = (path, 0)
        if known != self._known:
            self._look(known, *_described(path))
        return [self._problem] if self._problem else []

    def path(self) -> str:
        """The chosen study file, with an absolute path; empty where none is chosen."""
        chosen = self._state.settings.studyFile.strip() if self._state is not None else ""
        return os.path.abspath(chosen) if chosen else ""

    def report(self) -> str:
        """Where the report of the chosen study is, or will be; empty where there is no such study."""
        return _reportOf(self.path())

    def ensureTrust(self) -> bool:
        """Whether nothing speaks against opening the study's networks: the user is asked about each that is a program,
        whatever the study file says of it, which may be a stranger's."""
        return all(trust.ensure(x, trust.askTrust) for x in _programs(self.path()))

    def granted(self) -> list[str]:
        """The SHA-256 of the study's programs that the user trusts in this session, as they are now."""
        return [sha256 for x in _programs(self.path()) for sha256 in trust.granted(x.programs)]

    def begin(self) -> None:
        """A study starts: what it has finished before is told again."""
        self._rows = {}
        self.table.setSortingEnabled(False)
        self.table.setRowCount(0)

    def add(self, row: Mapping[str, Any]) -> None:
        """Show what a job has found, or why it has found nothing."""
        if row["key"] in self._rows:
            return
        if self.table.rowCount >= _MOST_ROWS:
            self._rows.pop(self._keyOf(0), None)
            self.table.removeRow(0)
        place = self.table.rowCount
        self._rows[row["key"]] = row
        self.table.setRowCount(place + 1)
        failed = row["error"]
        told = (row["attack"], row["before"], _("failed") if failed else row["after"], row["case"], row["network"])
        for column, value in enumerate(told):
            self.table.setItem(place, column, _item(value, row["key"], failed or str(told[column] or "")))
        networks = {x["network"] for x in self._rows.values()}
        self.table.setColumnHidden(_NETWORK, len(networks) < 2)
        self.table.scrollToBottom()

    def end(self) -> None:
        """The study has ended: its rows can be sorted now."""
        self.table.setSortingEnabled(True)
        self._known = ()

    def tabOrder(self) -> list[Any]:
        """The widgets that take the keyboard, in reading order."""
        return [
            self.widget, self.fileLine.comboBox(), self.runButton, self.reportButton, self.table, self.loadButton,
        ]  # fmt: skip

    def _makeTable(self) -> Any:
        self.table = qt.QTableWidget()
        self.table.objectName = "studyTable"
        self.table.accessibleName = _("Results of the study")
        self.table.toolTip = widgets.tip(
            _("Mean Dice of each attack before and after; a double click loads the case into the scene")
        )
        self.table.setColumnCount(len(_WIDTHS))
        self.table.setHorizontalHeaderLabels([_("Attack"), _("Before"), _("After"), _("Case"), _("Network")])
        for column, width in enumerate(_WIDTHS):
            self.table.setColumnWidth(column, width)
        self.table.horizontalHeader().setStretchLastSection(True)
        self.table.verticalHeader().setVisible(False)
        self.table.editTriggers = qt.QAbstractItemView.NoEditTriggers
        self.table.selectionBehavior = qt.QAbstractItemView.SelectRows
        self.table.selectionMode = qt.QAbstractItemView.SingleSelection
        self.table.setColumnHidden(_NETWORK, True)
        self.table.minimumHeight = _HEIGHT
        widgets.shrink(self.table)
        self.table.connect("cellDoubleClicked(int,int)", lambda row, _column=0: self._load(row))
        self.table.connect("itemSelectionChanged()", self._showLoadButton)
        return self.table

    def _load(self, place: int) -> None:
        row = self._rows.get(self._keyOf(place))
        if row is not None and row.get("entry") and not self._busy:
            self._onLoad(row)

    def _keyOf(self, place: int) -> str:
        item = self.table.item(place, _ATTACK) if 0 <= place < self.table.rowCount else None
        return str(item.data(qt.Qt.UserRole)) if item is not None else ""

    def _showLoadButton(self) -> None:
        row = self._rows.get(self._keyOf(self.table.currentRow()))
        entry = row is not None and bool(row.get("entry"))
        self.loadButton.setEnabled(entry and not self._busy)
        ready = _("Put the case of the chosen row into the scene")
        self.loadButton.toolTip = widgets.tip(self._busy or (ready if entry else _("Choose a row of the table first.")))

    def _look(self, known: tuple[Any, ...], described: str, problem: str) -> None:
        self._known, self._problem = known, problem
        widgets.say(self.note, described)
        widgets.say(self.problemNote, problem)

    def _fileEdited(self, path: str) -> None:
        if self._state is not None:
            self._state.change(studyFile=path)


def _item(value: Any, key: str, tip: str) -> Any:
    """A cell: a number that sorts as one, or a text."""
    item = qt.QTableWidgetItem()
    number = isinstance(value, (int, float)) and math.isfinite(value)
    shown = round(float(value), 3) if number else _("undefined") if value is None else str(value)
    item.setData(qt.Qt.DisplayRole, shown)
    item.setData(qt.Qt.UserRole, key)
    item.setToolTip(widgets.tip(tip))
    return item


def _described(path: str) -> tuple[str, str]:
    """What a study file asks, in a line, and what is wrong with it, in a sentence."""
    from SegAdversarialLib.errors import InputError

    try:
        from SegAdversarialLib.studies.folder import StudyFolder

        study = StudyFolder.of(path).study()
    except InputError as error:
        return "", str(error)
    except ImportError as error:
        told = _("Studies need packages that are missing ({error}); in Slicer's Python console: {command}")
        return "", told.format(error=error, command=_PACKAGES)
    text = _("{name}, on {cohort}; networks: {networks}, attacks: {attacks}")
    told = text.format(name=study.study, networks=len(study.networks), attacks=len(study.attacks), cohort=study.cohort.cohort)
    return f"{told}\n{study.description}".strip(), ""


def _programs(path: str) -> list[trust.NetworkFile]:
    """The networks of a study that are programs."""
    from SegAdversarialLib.studies.folder import StudyFolder
    from SegAdversarialLib.studies.programs import programs

    return [
        trust.NetworkFile(x.name, str(x.file), x.content, x.runs, tuple(map(str, x.programs)))
        for x in programs(StudyFolder.of(path).study())
    ]


def _reportOf(path: str) -> str:
    from SegAdversarialLib.errors import InputError

    try:
        from SegAdversarialLib.studies.folder import StudyFolder

        return str(StudyFolder.of(path).report) if path else ""
    except (InputError, ImportError):
        return ""
