"""The papers' printed tables as data, and what stands beside them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from paper_helpers import patients, result
from test_paper_claims import ENOUGH, WORLDS

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.metrics import psnr, rmse
from SegAdversarialLib.studies import papers
from SegAdversarialLib.studies.papers.chen2019 import names as chen
from SegAdversarialLib.studies.papers.comparing import beside
from SegAdversarialLib.studies.papers.liu2021 import tables as liu
from SegAdversarialLib.studies.papers.liu2021.names import FGSM
from SegAdversarialLib.studies.papers.printed import PrintedTable, figures


def test_a_printed_line_is_read() -> None:
    line = figures("0.893 ± 0.053 0.741 ± 0.162* - 6.628e-4 27.69 ± 0.28")
    assert [x and (x.number, x.deviation, x.digits) for x in line] == [
        (0.893, 0.053, 3),
        (0.741, 0.162, 3),
        None,
        (6.628e-4, None, 3),
        (27.69, 0.28, 2),
    ]
    assert line[1] is not None and line[1].text.endswith("*") and line[1].unmarked == "0.741 ± 0.162"


@pytest.mark.parametrize("name", papers.NAMES)
def test_every_row_has_a_figure_for_each_column(name: str) -> None:
    for table in papers.printed(name):
        assert table.rows and all(len(row) == len(table.columns) for row in table.rows), table.title


def test_the_drops_that_the_text_of_the_paper_names_are_those_of_its_table() -> None:
    """Liu et al., Results: "the attacks reduced the Dice coefficient by 30.5%, 58.3%, and 43.8% in the tumor core; ...".

    FGSM's in the tumour core is left out: the text has 30.5 %, the table's 0.821 and 0.561 make 31.7 %.
    """
    said = {
        "Tumor core": (("i-FGSM", 58.3), ("ti-FGSM", 43.8)),
        "Enhancing tumor": (("FGSM", 44.6), ("i-FGSM", 65.6), ("ti-FGSM", 45.4)),
        "Whole tumor": (("FGSM", 26.7), ("i-FGSM", 47.5), ("ti-FGSM", 35.0)),
    }
    for region, attacks in said.items():
        clean = liu.TABLE_1.get(("No attack",), region)
        for attack, percent in attacks:
            left = liu.TABLE_1.get((attack,), region)
            assert clean is not None and left is not None
            drop = 100 * (clean.number - left.number) / clean.number
            assert math.isclose(drop, percent, abs_tol=0.15), (region, attack, drop)


def test_the_gains_that_the_text_names_are_those_of_the_tables() -> None:
    """Liu et al. on Figure 5: "for T=5000, the gains are 0.14, 0.27, and 0.22"; of Table 2 within a hundredth."""
    for region, said in zip(("WT", "TC", "ET"), (0.14, 0.27, 0.22)):
        row = liu.REGIONS[region]
        hot, none = (liu.TABLE_2.get((row, x), "ε = 0.1") for x in (liu.DISTILLED[5000], liu.NOTHING))
        assert hot is not None and none is not None and abs(hot.number - none.number - said) < 0.011


def test_thirty_percent_less_is_what_it_says() -> None:
    """Chen et al.'s second row is 70 % of the first; it has the liver's 66.30 for 66.297."""
    clean, border = (papers.printed("chen2019")[0].rows[n] for n in (0, 1))
    for before, after in zip(clean[1:5], border[1:5]):
        assert abs(0.7 * float(str(before)) - float(str(after))) < 0.01


def test_here_is_the_mean_over_patients_and_the_difference_to_the_paper() -> None:
    values = dict(zip(patients(4), (0.5, 0.6, 0.7, 0.4)))
    rows = []
    for patient, after in values.items():
        before = dict.fromkeys(("WT", "TC", "ET"), 0.9)
        rows += result(liu.NOTHING, FGSM, patient, dict.fromkeys(before, after), before, {"epsilon": 0.05})
    _, table_2, _ = papers.compared("liu2021", rows)
    found = {tuple(row[:3]): row[3:] for row in table_2.rows}
    paper, here, difference = found["Whole tumor", "No defense", "ε = 0.05"]
    assert paper.text == "0.676 ± 0.189"
    assert math.isclose(here.number, 0.55) and here.text == f"0.550 ± {np.std(list(values.values()), ddof=1):.3f}"
    assert difference == round(0.55 - 0.676, 3)
    assert found["Tumor core", "No defense", "ε = 0.1"][1] is None


def test_the_error_in_table_1_is_a_share_of_the_range_as_psnr_is() -> None:
    """By their definitions in the paper, RMSE is 10 to the power of -PSNR / 20."""
    original = np.random.default_rng(0).uniform(0, 800, (6, 6, 6)).astype(np.float32)
    changed = original + np.float32(30)
    quality = {"psnr": psnr(original, changed), "ssim": 0.7, "rmse": rmse(original, changed), "largest_change": 30.0}
    about = {"network": liu.NOTHING, "attack": FGSM, "repeat": 0, "channels": "all", "settings": {"epsilon": 0.05}}
    rows = [{**about, "patient": x, "case": x, "channel": "T1", **quality} for x in patients(4)]
    table_1, *_ = papers.compared("liu2021", [], channels=rows)
    here = {row[1]: row[3] for row in table_1.rows if row[0] == "FGSM"}
    assert math.isclose(here["RMSE"].number, 10 ** (-here["PSNR"].number / 20), rel_tol=1e-6)
    assert here["RMSE"].text.startswith("0.038")


def test_chen_s_table_is_in_percent_and_has_a_row_for_structures_that_the_paper_lacks() -> None:
    rows = []
    for patient in patients(2):
        before = {"liver": 0.9, "oedema": 0.8}
        rows += result(chen.NETWORK, chen.BOTH, patient, {"liver": 0.45, "oedema": 0.2}, before, {"xi": 2.0})
    table, _ = papers.compared("chen2019", rows)
    found = {tuple(row[:2]): row[2:] for row in table.rows}
    assert found["U-Net", "Liver"][1].text == "90.00 ± 0.00"
    paper, here, difference = found["I_DV on U-Net (ξ = 2.0)", "Liver"]
    assert (paper.text, here.text, difference) == ("11.19", "45.00 ± 0.00", round(45 - 11.19, 2))
    assert found["I_DV on U-Net (ξ = 2.0)", "oedema"][0] == "-"
    assert math.isclose(found["U-Net 30% decrease", "oedema"][1].number, 56.0)


def test_the_paper_s_figures_sort_by_their_value_and_are_written_as_printed() -> None:
    rows = {(f"network {n}",): figures(line) for n, line in enumerate(("9.16", "80.07 ± 1.5*", "-"))}
    table = PrintedTable("Table 9", "Dice", ("Network",), ("WT",), rows)
    found = beside(table, lambda *_: {"a": 10.0, "b": 11.0})
    (column,) = (n for n, x in enumerate(found.columns) if x == "paper")
    assert [row[column] for row in found.numbers] == [9.16, 80.07, None]
    assert [row[column] for row in found.texts] == ["9.16", "80.07 ± 1.5*", "-"]
    assert "80.07 ± 1.5*" in found.to_csv() and "Shown" not in found.to_csv()


def test_digits_are_those_that_are_known() -> None:
    rows = {("a",): figures("0.609 6.628e-4"), ("b",): figures("0.7 0.0013")}
    table = PrintedTable("Table 9", "Dice", ("Network",), ("WT", "p"), rows)
    found = {"WT": {"x": 0.6089, "y": 0.6090}, "p": 0.84375}
    shown = beside(table, lambda _, row, column: found[column])
    texts = [row[3:] for row in shown.texts]
    assert texts[0][1] == "0" and math.copysign(1, shown.rows[0][4]) == 1, "no -0.000"  # type: ignore[arg-type]
    assert texts[1][0] == "0.844", "0.8440 would be a digit that is wrong"


def test_what_stands_on_one_side_alone_is_explained() -> None:
    before = dict.fromkeys(("WT", "TC"), 0.9)
    rows = [y for x in patients(4) for y in result(liu.NOTHING, FGSM, x, before, before, {"epsilon": 0.05})]
    table_1, table_2, table_3 = papers.compared("liu2021", rows)
    assert "Enhancing tumor; PSNR; SSIM; RMSE; i-FGSM; ti-FGSM" in table_1.notes[-1]
    assert any("p, ε = 0.1" in x and "Whole tumor, Distillation (T = 20)" in x for x in table_2.notes)
    assert any(x.startswith("Not measured here: ") for x in table_3.notes)
    rows = [y for x in patients(2) for y in result(chen.NETWORK, chen.BOTH, x, {"oedema": 0.2}, {"oedema": 0.8}, {"xi": 2.0})]
    table, seen = papers.compared("chen2019", rows)
    assert table.title == "Table 1: Abdominal organ segmentation, Dice (%)"
    assert seen.title.startswith("Table 1: Perceptibility")
    assert "Pancreas; Kidneys; Liver; Spleen" in table.notes[0] and any("no such figure" in x for x in table.notes)
    found = {tuple(row[:2]): row[3] for row in table.rows}
    assert found["U-Net", "oedema"].text == "80.00 ± 0.00"  # with as many decimals as the paper's figures


@pytest.mark.parametrize("name", papers.NAMES)
def test_all_that_was_measured_stands_beside_the_paper(name: str) -> None:
    rows = WORLDS[name](ENOUGH, True)
    for table in papers.compared(name, rows["results"], channels=rows["channels"], traces=rows["traces"]):
        assert any(row[table.columns.index("here")] is not None for row in table.rows) or "Table 1" in table.title
        assert table.to_markdown().count("\n") > len(table.rows)


def test_a_paper_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match="liu2021"):
        papers.claims("liu2020", [])
