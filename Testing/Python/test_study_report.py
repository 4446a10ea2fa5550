"""The report of a study as a file: all that it must say, nothing that it must not be, the same bytes, whole or not at all."""

from __future__ import annotations

import datetime
import errno
import html
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import report_helpers as made_up
from hypothesis import given
from hypothesis import strategies as st
from report_helpers import HOSTILE, MadeUpStore, MadeUpStudy

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.studies import report
from SegAdversarialLib.studies.grouping import Results
from SegAdversarialLib.studies.report import claims, contents, writing
from SegAdversarialLib.studies.report.gathering import gather
from SegAdversarialLib.studies.report.markup import element, escaped
from SegAdversarialLib.studies.report.material import Account
from SegAdversarialLib.studies.report.notes import Note, gathered
from SegAdversarialLib.studies.report.summary import effects, findings, limits
from SegAdversarialLib.studies.report.tables import table
from SegAdversarialLib.studies.report.writing import render
from SegAdversarialLib.studies.study import Study
from SegAdversarialLib.studies.tables import Table

DAY = datetime.date(2026, 11, 28)


class Seen(HTMLParser):
    """What a browser makes of a page: its elements with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a small study."""
    rows = made_up.results(patients=6, epsilons=(0.0, 0.1))
    path: Path = report.write(MadeUpStudy(), MadeUpStore(rows), tmp_path_factory.mktemp("study") / "report.html")  # type: ignore[arg-type]
    return path


@given(st.text())
def test_any_text_comes_out_as_text(text: str) -> None:
    seen = Seen(element("p", text, title=text))
    assert [tag for tag, _ in seen.elements] == ["p"]
    # what no browser shows is replaced; line ends are as HTML reads them
    assert "<" not in escaped(text) and html.unescape(escaped(text)) == seen.text
    assert len(seen.text) == len(text)
    escaped(text).encode()


def test_the_page_is_one_file_with_one_program_and_nothing_from_elsewhere(written: Path) -> None:
    seen = Seen(written.read_text(encoding="utf-8"))
    assert [tag for tag, _ in seen.elements].count("script") == 1
    for tag, attributes in seen.elements:
        assert not any(name.startswith("on") or name == "style" for name in attributes), (tag, attributes)
        address = attributes.get("src") or attributes.get("href") or ""
        assert not re.match(r"(?!data:image/)[a-z]+:|//", address), address
        if tag == "a" and not address.startswith("#"):
            assert (written.parent / address).is_file(), address


def test_it_says_what_was_run(written: Path) -> None:
    text = Seen(written.read_text(encoding="utf-8")).text
    for word in (
        *(
            "case-99",
            "there is no T2",
            f"{HOSTILE}.nii.gz holds NaN.",
            "The worker died three times.",
            "2.13.0",
            "builtin:U-Net",
        ),
        *("epsilon 0 / 0.1", "U-Net learns from 2 of the cases", "6 cases of 6 patients", "What happens & why."),
    ):
        assert word in text, word


def test_all_rows_and_tables_lie_beside_it(written: Path) -> None:
    lines = (written.parent / "tables" / "results.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + len(made_up.results(patients=6, epsilons=(0.0, 0.1)))
    assert {"dice_after", "settings", "hd95_after"} <= set(lines[0].split(","))
    assert {x.suffix for x in (written.parent / "figures").iterdir()} == {".svg", ".png"}


def test_the_same_store_makes_the_same_bytes(written: Path, tmp_path: Path) -> None:
    rows = made_up.results(patients=6, epsilons=(0.0, 0.1))
    again = report.write(MadeUpStudy(), MadeUpStore(rows), tmp_path / "report.html")  # type: ignore[arg-type]
    assert again.read_bytes() == written.read_bytes()
    for one in sorted(x for x in written.parent.rglob("*") if x.is_file()):
        assert (tmp_path / one.relative_to(written.parent)).read_bytes() == one.read_bytes(), one.name


def test_only_the_date_differs_from_day_to_day() -> None:
    found = made_up.material()
    one, other = (render(found, date=x) for x in (DAY, DAY + datetime.timedelta(1)))
    assert one != other and one.replace("2026-11-28", "2026-11-29") == other


def test_whole_or_not_at_all(tmp_path: Path) -> None:
    place = tmp_path / "report.html"
    place.mkdir()
    (place / "mine").write_text("kept")
    rows = made_up.results(patients=2, epsilons=(0.1,), structures=("WT",))
    with pytest.raises(InputError, match="Cannot write"):
        report.write(MadeUpStudy(), MadeUpStore(rows), place)  # type: ignore[arg-type]
    assert (place / "mine").read_text() == "kept" and not list(tmp_path.glob(".partial*"))


def test_a_full_disk_leaves_the_earlier_report_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = made_up.results(patients=2, epsilons=(0.1,), structures=("WT",))
    path = report.write(MadeUpStudy(), MadeUpStore(rows), tmp_path / "report.html")  # type: ignore[arg-type]
    before = {x.relative_to(tmp_path): x.read_bytes() for x in tmp_path.rglob("*") if x.is_file()}

    def full(*_arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writing, "write_page", full)
    more = made_up.results(patients=3, epsilons=(0.1, 0.2), structures=("WT", "TC"))
    with pytest.raises(InputError, match="No space left"):
        report.write(MadeUpStudy(), MadeUpStore(more), path)  # type: ignore[arg-type]
    assert {x.relative_to(tmp_path): x.read_bytes() for x in tmp_path.rglob("*") if x.is_file()} == before


def test_what_an_earlier_report_alone_had_beside_it_goes(tmp_path: Path) -> None:
    more = made_up.results(patients=3, epsilons=(0.1, 0.2), structures=("WT", "TC"))
    path = report.write(MadeUpStudy(), MadeUpStore(more), tmp_path / "report.html")  # type: ignore[arg-type]
    (tmp_path / "study.sqlite").write_text("stays")
    fewer = made_up.results(patients=3, epsilons=(0.1,), structures=("WT",))
    report.write(MadeUpStudy(), MadeUpStore(fewer), path)  # type: ignore[arg-type]
    text = path.read_text(encoding="utf-8")
    beside = [x.name for folder in ("tables", "figures") for x in (tmp_path / folder).iterdir() if x.suffix == ".csv"]
    assert beside and all(name in text for name in beside)
    assert (tmp_path / "study.sqlite").read_text() == "stays" and not list(tmp_path.glob(".*"))


def test_the_tables_open_in_a_scene(tmp_path: Path) -> None:
    pytest.importorskip("slicer")
    from SegAdversarialLib import scene

    store = MadeUpStore(made_up.results(patients=2, networks=("U-Net",), epsilons=(0.1,), channels=("all",)), ("U-Net",))
    read = scene.read_scene(report.write_scene(MadeUpStudy(), store, tmp_path / "tables.mrb"))  # type: ignore[arg-type]
    nodes = [read.GetNthNodeByClass(n, "vtkMRMLTableNode") for n in range(read.GetNumberOfNodesByClass("vtkMRMLTableNode"))]
    (shown,) = (x for x in nodes if "Dice under FGSM" in x.GetName())
    texts = {
        shown.GetCellText(row, column)
        for row in range(shown.GetNumberOfRows())
        for column in range(shown.GetNumberOfColumns())
    }
    (wanted,) = (x.table for x in contents.tables(gather(MadeUpStudy(), store)) if x.table.title == "Dice under FGSM")  # type: ignore[arg-type]
    assert {x for row in wanted.texts for x in row if "±" in x} <= texts
    with pytest.raises(InputError, match="must end in .mrb"):
        report.write_scene(MadeUpStudy(), store, tmp_path / "tables.mrml")  # type: ignore[arg-type]


def test_a_paper_s_tables_and_claims_lie_in_the_scene_and_beside_the_page(tmp_path: Path) -> None:
    pytest.importorskip("slicer")
    from SegAdversarialLib import scene

    class Repeated(MadeUpStudy):
        paper = "chen2019"

    store = MadeUpStore(made_up.results(patients=2, networks=("U-Net",), epsilons=(0.1,), channels=("all",)), ("U-Net",))
    read = scene.read_scene(report.write_scene(Repeated(), store, tmp_path / "tables.mrb"))  # type: ignore[arg-type]
    nodes = [read.GetNthNodeByClass(n, "vtkMRMLTableNode") for n in range(read.GetNumberOfNodesByClass("vtkMRMLTableNode"))]
    names = [x.GetName() for x in nodes]
    material = gather(Repeated(), store)  # type: ignore[arg-type]
    beside = claims.tables(*claims.judged(material, store))  # type: ignore[arg-type]
    assert len(beside) >= 2 and all(any(x.title in name for name in names) for x in beside)
    verdicts = {x.verdict for x in claims.judged(material, store)[0]}  # type: ignore[arg-type]
    (judged,) = (x for x in nodes if beside[0].title in x.GetName())
    shown = {judged.GetCellText(row, n) for row in range(judged.GetNumberOfRows()) for n in range(judged.GetNumberOfColumns())}
    assert all(any(verdict in text for text in shown) for verdict in verdicts)
    page = report.write(Repeated(), store, tmp_path / "report.html")  # type: ignore[arg-type]
    assert len(list((page.parent / "tables").glob("*.csv"))) >= len(beside) + len(contents.tables(material))


def test_a_study_without_results_has_a_report(tmp_path: Path) -> None:
    class Empty(MadeUpStore):
        def checks(self) -> Any:
            return iter(())

        audited = cells = checks

    path = report.write(MadeUpStudy(), Empty([]), tmp_path / "report.html")  # type: ignore[arg-type]
    assert "There are no results yet." in path.read_text(encoding="utf-8")


def test_numbers_sort_by_themselves_and_what_is_missing_is_marked() -> None:
    page = table(
        Table("T", ("Name", "Value"), (("a", 0.5), ("b", None), ("c", float("inf")), ("d", float("nan")), ("e", 12.25)))
    )
    cells = [attributes for tag, attributes in Seen(page).elements if tag == "td"]
    values = [x.get("data-value") for x in cells[1::2]]
    assert values == ["0.5", None, "Infinity", None, "12.25"]
    assert [x.get("class") for x in cells[1::2]] == ["number", "number missing", "number", "number missing", "number"]
    headers = [x for tag, x in Seen(page).elements if tag == "th"]
    assert [x["aria-sort"] for x in headers] == ["none", "none"]


def test_a_long_table_is_cut_and_says_so() -> None:
    page = table(Table("Long", ("n",), tuple((float(n),) for n in range(1500))))
    assert Seen(page).text.count("more rows are not shown") == 1 and page.count("<tr") == 1001


def test_findings_name_the_strongest_attack_of_each_network() -> None:
    found = made_up.material()
    said = "\n".join(findings(found, effects(found.results)))
    assert re.search(
        r"^U-Net: mean Dice 0\.9\d\d without an attack, 0\.\d+ .* under the strongest .*, epsilon = 0\.1\.$", said, re.M
    )
    assert "the audit warns (More steps do more)" in said and "U-Net: no check of the audit warns." in said
    assert "3 networks segmented 8 cases" in said


def test_what_the_summary_says_stands_in_a_table(written: Path) -> None:
    rows = made_up.results(patients=6, epsilons=(0.0, 0.1))
    found = effects(Results(rows))
    cells = (written.parent / "tables" / "Dice_under_FGSM.csv").read_text(encoding="utf-8")
    means = [x for x in cells.splitlines() if x.startswith("mean,")]
    assert len(means) == len(found) == len(made_up.NETWORKS)
    for one in found:
        if one.condition.label == "FGSM, epsilon = 0.1":
            assert any(f"{one.after:.10f}"[:10] in x for x in means), one
    assert (written.parent / "tables" / "Mean_Dice_by_attacked_channels_over_all_networks_attacks_and_budgets.csv").exists()
    assert not [x for x in (written.parent / "tables").iterdir() if "__" in x.name or x.stem.endswith("_")]


def test_names_with_commas_are_told_apart() -> None:
    rows = made_up.results(patients=6, epsilons=(0.1,), networks=("U-Net", "U-Net, epoch 0"))
    for row in rows:
        row["dice_before"] = 0.01
    said = "\n".join(limits(made_up.material(results=Results(rows))))
    assert "(U-Net; U-Net, epoch 0)" in said


@pytest.mark.parametrize(("after", "shown"), [(0.4, "0.90 → 0.40"), (0.0042, "0.90 → 0.004"), (0.8976, "0.900 → 0.898")])
def test_the_fall_at_a_glance_is_not_rounded_away(after: float, shown: str) -> None:
    rows = made_up.results(patients=3, networks=("U-Net",), structures=("WT",), epsilons=(0.1,), channels=("all",))
    for row in rows:
        row |= {"dice_before": 0.9, "dice_after": after}
    assert f"<dd>{shown}</dd>" in render(made_up.material(results=Results(rows)), date=DAY)


def test_a_figure_that_is_not_broad_has_no_class() -> None:
    from SegAdversarialLib.studies.report.pictures import figure

    assert 'class="broad"' in figure("a", "b", b"", "image/png", broad=True)
    assert "class" not in figure("a", "b", b"", "image/png", broad=False).partition(">")[0]


def test_notes_that_differ_in_numbers_or_cases_alone_are_one_line() -> None:
    networks = {"Distillation (T = 20)": "a", "Distillation (T = 100)": "b", "Distillation": "c"}
    cases = {"anna": ["anna-first", "anna-second"], "C4-001": ["C4-001"]}
    raised = {
        f"The attack raised the mean Dice from 0.59 to {x} instead of lowering it.": n for x, n in ((0.61, 2), (0.62, 5))
    }
    read = {f"/data/{x}/T1.nii.gz gives no {y}.": 1 for x in ("anna-first", "C4-001") for y in ("unit", "origin")}
    channels = {f"{x} holds 3 values that are no numbers.": 1 for x in ("T1", "T2")}
    learned = {f"{x} learns from 2 of the cases.": 1 for x in networks}
    account = Account(networks=networks, cases=cases, notes={**raised, **read, **channels, **learned})
    found = gathered(account)
    assert found[0] == Note("The attack raised the mean Dice from 0.59 to 0.62 instead of lowering it.", 2, 7)
    assert [x[1:] for x in found[1:3]] == [(2, 2), (2, 2)], "of two cases, but of the unit and of the origin"
    assert [x.example for x in found[3:]] == [*channels, *learned], "other channels and networks are other notes"
    assert sum(x.times for x in found) == sum(account.notes.values())


def test_the_page_counts_notes_that_it_does_not_show() -> None:
    noted = {f"Dice is only {x}.": 1 for x in (0.1, 0.2, 0.3)}
    page = Seen(render(made_up.material(account=Account(notes=noted)), date=DAY)).text
    assert page.count("Dice is only") == 1 and "Notes like it" in page and "with one of them as an example" in page
    alone = Seen(render(made_up.material(account=Account(notes={"Dice is only 0.1.": 3})), date=DAY)).text
    assert "Notes like it" not in alone and "as an example" not in alone


def test_a_network_that_is_a_file_is_told_by_its_name() -> None:
    study = {"cohort": "phantom:0-1@24", "attacks": [{"attack": "fgsm"}], "audit": False, "study": "a"}
    for network in ("builtin:brain-tumour-phantom", {"path": "builtin:brain-tumour-phantom", "trust": True}):
        read = Study.of({**study, "networks": {"one": network}})
        assert gather(read, MadeUpStore(made_up.results(patients=1))).account.networks == {
            "one": "builtin:brain-tumour-phantom"
        }


def test_a_structure_without_a_distance_was_missed_or_made_up() -> None:
    rows = made_up.results(patients=6, epsilons=(0.1,))
    for row in rows:
        row |= {"dice_after": 0.0, "hd95_after": float("inf"), "volume_after": 3.0}
    (said,) = (x for x in limits(made_up.material(results=Results(rows))) if "HD95" in x)
    assert "missed wholly, or found where the reference has none" in said


def test_the_networks_that_are_left_out_of_the_summary_are_counted() -> None:
    few, many = (made_up.results(patients=2, networks=[f"n{x}" for x in range(count)], epsilons=(0.1,)) for count in (12, 14))
    said = {len(x.networks): findings(made_up.material(results=x), effects(x)) for x in map(Results, (few, many))}
    about = "Of 14 networks that were attacked, the 6 that lost most and the 6 that lost least:"
    assert about in said[14] and len([x for x in said[14] if "under the strongest" in x]) == 12
    assert not [x for x in said[12] if "lost least" in x] and len([x for x in said[12] if "under the strongest" in x]) == 12


@pytest.mark.parametrize(("regions", "sentence"), [(1, "stands WT, which counts in"), (2, "stand TC, WT, which count in")])
def test_what_stands_beside_the_mean(regions: int, sentence: str) -> None:
    rows = made_up.results(patients=2, epsilons=(0.1,))
    for row in rows:
        row["region"] = row["structure"] in ("WT", "TC")[:regions]
    assert f"Beside it {sentence} no mean." in findings(made_up.material(results=Results(rows)), [])[0]


def test_limits_say_what_few_patients_cannot_show() -> None:
    few, many = ("\n".join(limits(made_up.material(patients=n))) for n in (5, 8))
    assert "With 5 patients the least p-value that a signed-rank test can have is 0.0625" in few
    assert "least p-value" not in many
    assert "synthetic" in many and "2 jobs came to nothing" in many and "1 case could not be used" in many
    assert "No audit" in "\n".join(limits(made_up.material(checks=[], audited=[])))


def test_a_network_that_finds_nothing_is_named() -> None:
    rows = made_up.results(patients=6, epsilons=(0.0, 0.1))
    blind = rows[0]["network"]
    for row in rows:
        if row["network"] == blind:
            row["dice_before"] = row["dice_after"] = 0.01
    said = [x for x in limits(made_up.material(results=Results.of(rows))) if "finds hardly anything" in x]
    assert len(said) == 1 and f"1 network ({blind})" in said[0]
    assert not any("finds hardly anything" in x for x in limits(made_up.material()))
