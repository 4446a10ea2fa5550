"""The papers' studies from the command to the page, in their smallest form: nothing fails, and all of the paper is on it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from SegAdversarialLib.cli import main
from SegAdversarialLib.studies import execution, papers
from SegAdversarialLib.studies.folder import StudyFolder
from SegAdversarialLib.studies.records import CHANNEL_COLUMNS, STRUCTURE_COLUMNS, Cell, Outcome
from SegAdversarialLib.studies.store import Store

VERDICTS = {"✓ holds", "✗ does not hold", "not testable"}
MISSING = "–"
MEASURED = re.compile(r"-?\d[\d.]* ± ")


class Shown:
    """A table of a page: its title, its columns, its rows as texts, and the sentences below it."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.lines: list[list[str]] = []
        self.notes: list[str] = []

    @property
    def columns(self) -> list[str]:
        return self.lines[0]

    @property
    def rows(self) -> list[list[str]]:
        return self.lines[1:]

    def column(self, name: str) -> list[str]:
        return [row[self.columns.index(name)] for row in self.rows] if name in self.columns else []


class Page(HTMLParser):
    """The sections, tables and list items of a report."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tables: list[Shown] = []
        self.said: list[str] = []
        self._title = ""
        self._in: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("h3", "table", "tr", "th", "td", "li", "script", "style"):
            self._in.append(tag)
        if tag == "h3":
            self._title = ""
        elif tag == "table":
            self.tables.append(Shown(self._title))
        elif tag == "tr":
            self.tables[-1].lines.append([])
        elif tag in ("th", "td"):
            self.tables[-1].lines[-1].append("")
        elif tag == "li":
            self.said.append("")
            if self.tables and self._title == self.tables[-1].title:
                self.tables[-1].notes.append("")

    def handle_endtag(self, tag: str) -> None:
        if self._in and self._in[-1] == tag:
            self._in.pop()

    def handle_data(self, data: str) -> None:
        data = data.replace("\N{NO-BREAK SPACE}", " ")
        where = self._in[-1] if self._in else ""
        if where == "h3":
            self._title += data
        elif where in ("th", "td"):
            self.tables[-1].lines[-1][-1] += data
        elif where == "li":
            self.said[-1] += data
            if self.tables and self.tables[-1].notes and self._title == self.tables[-1].title:
                self.tables[-1].notes[-1] += data

    def table(self, title: str) -> Shown:
        (found,) = (x for x in self.tables if x.title == title)
        return found

    def beside(self) -> list[Shown]:
        """The tables with paper | here | difference."""
        return [x for x in self.tables if re.match(r"Table \d+: ", x.title)]


def check_claims(page: Page, name: str) -> None:
    """Each claim of the paper has one of the three verdicts, and says why."""
    table = page.table("The paper's claims")
    assert table.column("Claim") == [x.text for x in papers.claims(name, [])]
    assert set(table.column("Verdict")) <= VERDICTS and MISSING not in table.column("Evidence")
    assert not any(re.search(r"only 0(\.0+)?\b(?!\.)", x) for x in table.column("Evidence"))


def check_beside(page: Page, name: str) -> None:
    """All figures that the paper prints stand in their rows; what is missing on either side is explained."""
    found: dict[tuple[str, ...], str] = {}
    for table in page.beside():
        heads = table.columns.index("Figure") + 1
        for n, row in enumerate(table.rows):
            number = table.title.partition(":")[0]
            found[number, *row[:heads]] = table.column("paper")[n] if "paper" in table.columns else MISSING
        here = table.column("here")
        assert not (MISSING in here or not here) or any("measured here" in x for x in table.notes), table.title
        assert MISSING not in table.column("paper") or table.notes, table.title
    for printed in papers.printed(name):
        number = printed.title.partition(":")[0]
        heads = [x for x in printed.columns if x in {y for z in page.beside() for y in z.columns}]
        for row in printed.rows:
            for column, figure in list(zip(printed.columns, row))[len(heads) :]:
                if figure != "-":
                    assert found[(number, *map(str, row[: len(heads)]), column)] == figure, (number, row, column)
        assert any(x[0] == number for x in found), f"{number} is not there"


def check_numbers(page: Page) -> None:
    """What the summary says stands in a table; no row is empty, and nothing is called nan or None."""
    cells = [x for table in page.tables for row in table.rows for x in row]
    for said in page.said:
        for before, after in re.findall(r"mean Dice ([\d.]+) without an attack, ([\d.]+)", said):
            assert all(any(x.startswith(f"{y} ± ") for x in cells) for y in (before, after)), said
    assert not [x for x in (*cells, *page.said) if re.search(r"\b(nan|None|inf)\b", x)]
    for table in page.tables:
        assert table.rows and all(len(row) == len(table.columns) for row in table.rows), table.title
        if any(MEASURED.match(x) for row in table.rows for x in row):
            empty = [row for row in table.rows if not any(re.search(r"\d", x) for x in row)]
            assert not empty, (table.title, empty)


def made_up(cell: Cell, structures: Mapping[str, bool]) -> Outcome:
    """What an attack might have left; `structures` are regions or the network's own."""
    random = np.random.default_rng([ord(x) for x in f"{cell.network}{cell.case}{cell.attack}{cell.settings}"])
    size = float(cell.settings.get("epsilon", cell.settings.get("xi", 0.0)))
    before = {x: float(random.uniform(0.7, 0.9)) for x in structures}
    after = {x: max(0.0, y - 0.3 * size / (0.05 + size) * float(random.uniform(0.8, 1.2))) for x, y in before.items()}
    other = dict.fromkeys(STRUCTURE_COLUMNS, 1.0)
    rows = [
        {**other, "structure": x, "region": structures[x], "dice_before": before[x], "dice_after": after[x], "success": False}
        for x in structures
    ]
    numbers = {x: float(random.uniform(20, 40)) for x in CHANNEL_COLUMNS[1:]}
    trace = [{"iteration": n, "loss": 1.0, "dice mean": 0.8 - 0.05 * n, "psnr": 40.0 - n} for n in range(4)]
    return Outcome(rows, [{**numbers, "channel": x} for x in ("T1", "T1ce", "T2", "FLAIR")], trace=trace, seconds=1.0)


@pytest.mark.parametrize("name", papers.NAMES)
def test_all_of_a_paper_is_on_the_page_of_a_study_that_is_done(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tumour = {**dict.fromkeys(("necrotic core", "oedema", "enhancing tumour"), False), "WT": True, "TC": True, "ET": True}
    structures = {"whole tumour": False, "background": True} if name == "pervin2023" else tumour

    def run(store: Store, cells: list[Cell], folder: Path, **unused: Any) -> Any:
        for cell in cells:
            store.finish(cell, made_up(cell, structures) if cell.kind == "attack" else Outcome(product="x", seconds=1.0))
        return store.counts()

    monkeypatch.setattr(execution, "run", run)
    assert main(["study", "run", f"papers:{name}", "--scale", "ci", "--output", str(tmp_path / name)]) == 0
    page = Page(tmp_path / name / "report.html")
    check_claims(page, name)
    check_beside(page, name)
    check_numbers(page)
    assert all(x.startswith(("✓", "✗", "not")) for x in page.table("The paper's claims").column("Verdict"))


@pytest.mark.slow
@pytest.mark.parametrize("name", papers.NAMES)
def test_a_paper_goes_from_the_command_to_its_page(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / name
    assert main(["study", "run", f"papers:{name}", "--scale", "ci", "--output", str(folder)]) == 0, capsys.readouterr().err
    with Store.open(StudyFolder.of(folder).store, name) as store:
        counts = store.counts()
    assert counts.done == counts.total > 0
    page = Page(folder / "report.html")
    check_claims(page, name)
    check_beside(page, name)
    check_numbers(page)
