"""A study's rows as tables in the papers' layouts, by hand."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rows_helpers import channel_rows, falling, rows
from scipy.stats import wilcoxon

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.evaluation.statistics import summary
from SegAdversarialLib.studies import layouts, modality_tables, robustness_tables
from SegAdversarialLib.studies.figures import by_budget
from SegAdversarialLib.studies.grouping import UNCHANGED, Condition, Results
from SegAdversarialLib.studies.marking import measure
from SegAdversarialLib.studies.report.accounting import settings_in_words
from SegAdversarialLib.studies.tables import Measure, Table


def mean_of(network: str, condition: str, structure: str) -> float:
    return float(np.mean([falling(network, condition, n, structure) for n in range(6)]))


def column(table: Table, name: str) -> list[object]:
    return [row[table.columns.index(name)] for row in table.rows]


def test_a_table_is_the_same_in_every_form(tmp_path: Path) -> None:
    entry = Measure(summary([0.5, 0.7, math.inf]), p=0.04, significant=True)
    table = Table("A | B", ("Name", "HD95", "x"), (("a|b", entry, math.nan), ("c", None, 3)), ("One.",))
    assert entry.text == "0.600 ± 0.141* (1 of 3 missed)"
    assert table.texts == [["a|b", entry.text, "-"], ["c", "", "3"]]
    assert table.numbers == [[None, pytest.approx(0.6), None], [None, None, 3.0]]
    assert table.records[1] == {"Name": "c", "HD95": "", "x": "3"}
    assert table.to_markdown().splitlines()[2:5] == [
        "| Name | HD95 | x |",
        "| --- | ---: | ---: |",
        f"| a\\|b | {entry.text} | - |",
    ]
    text = table.to_csv(tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text(encoding="utf-8") == text
    read = list(csv.DictReader(io.StringIO(text)))
    assert list(read[0]) == ["Name", "HD95", "HD95 SD", "HD95 n", "HD95 missed", "HD95 p", "x"]
    assert (read[0]["HD95 n"], read[0]["HD95 missed"], read[0]["HD95 p"], read[0]["x"]) == ("3", "1", "0.04", "")
    assert float(read[0]["HD95"]) == pytest.approx(0.6)


def test_tables_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="column twice"):
        Table("t", ("a", "a"))
    with pytest.raises(InputError, match="another length"):
        Table("t", ("a", "b"), (("x",),))


def test_a_measure_in_percent() -> None:
    assert measure({"a": 0.5, "b": 0.7}, digits=2, scale=100.0).text == "60.00 ± 14.14"
    assert measure({}).text == "-"


def test_repeats_and_cases_of_a_patient_are_averaged_first() -> None:
    one, *_ = rows(networks=("plain",), budgets=(0.05,))
    twice = [{**one, "dice_after": 0.2}, {**one, "dice_after": 0.4, "repeat": 1}, {**one, "case": "other", "dice_after": 0.9}]
    values = Results(twice).values("plain", Condition("fgsm", "epsilon", 0.05), "TC")
    assert values == {"p0": pytest.approx(0.6)}


def test_defences_against_budgets_in_liu_s_layout() -> None:
    (table,) = layouts.defenses(rows())
    heads = ["epsilon = 0", "epsilon = 0.02", "epsilon = 0.05"]
    assert table.columns == ("Structure", "Network", *heads, *(f"p, {x}" for x in heads))
    assert [x[:2] for x in table.rows] == [(s, n) for s in ("mean", "TC", "WT") for n in ("plain", "defended")]
    means, found = (column(table, "epsilon = 0.05")[x] for x in (slice(2), slice(2, None)))
    expected = [mean_of(n, "0.05 all", s) for s in ("TC", "WT") for n in ("plain", "defended")]
    assert [x.number for x in found if isinstance(x, Measure)] == pytest.approx(expected)
    of_both = [np.mean([mean_of(n, "0.05 all", s) for s in ("TC", "WT")]) for n in ("plain", "defended")]
    assert [x.number for x in means if isinstance(x, Measure)] == pytest.approx(of_both)
    # means and the baseline against itself are not tested; every defended patient is better: p = 2 / 2^6, times 6 tests
    assert column(table, "p, epsilon = 0.05") == [None, None, None, 0.1875, None, 0.1875]
    assert column(table, "p, epsilon = 0")[3] == 1.0
    assert any("Nothing in this table can be significant" in x and "0.031" in x for x in table.notes)


def test_significance_is_corrected_for_all_tests_of_the_table() -> None:
    made = rows(budgets=(0.05,))
    raw = wilcoxon([falling("plain", "0.05 all", n, "TC") - falling("plain", "0 all", n, "TC") for n in range(6)]).pvalue
    for correction, factor in (("bonferroni", 2), ("holm", 2), ("none", 1)):
        table = layouts.attacks(made, correction=correction)  # type: ignore[arg-type]
        entry = column(table, "Dice TC")[1]
        assert isinstance(entry, Measure) and entry.p == pytest.approx(raw * factor)
        assert entry.significant == (raw * factor <= 0.05) == ("*" in entry.text)
        assert entry.comparison is not None and entry.comparison.effect == -1
    assert table.notes[1].startswith("* differs from no attack: p <= 0.05")


def test_a_budget_of_nothing_is_no_test() -> None:
    table = layouts.attacks(rows(networks=("plain",), budgets=(0.0, 0.05)))
    assert [x[0] for x in table.rows] == ["No attack", "fgsm, epsilon = 0", "fgsm, epsilon = 0.05"]
    assert "it is not tested" in table.notes[0] and "for 2 tests" in table.notes[1]
    nothing = column(table, "Dice TC")[1]
    assert isinstance(nothing, Measure) and nothing.p is None


def test_attacks_with_image_quality_in_liu_s_and_chen_s_layouts() -> None:
    made = rows(channels=("all", "T1"), budgets=(0.02,))
    table = layouts.attacks(made, channel_rows(made), network="defended")
    assert table.columns == ("Attack", "Dice mean", "Dice TC", "Dice WT", "PSNR (dB)", "SSIM", "RMSE")
    assert table.texts[1][4] == "38.00 ± 0.00"
    # only the attacked channel counts: the other is identical
    assert table.texts[2][0] == "fgsm, epsilon = 0.02, T1 only" and table.texts[2][4] == "38.00 ± 0.00"
    percent = layouts.attacks(made, channel_rows(made), percent=True, borderline=0.3, quality=("perceptibility",))
    assert percent.columns == ("Attack", "Dice (%) mean", "Dice (%) TC", "Dice (%) WT", "Perceptibility")
    clean = mean_of("plain", "0 all", "TC")
    assert percent.rows[1][0] == "30 % decrease" and percent.rows[1][2] == pytest.approx(70 * clean, abs=0.01)
    assert percent.texts[0][2].startswith(f"{100 * clean:.2f}")


def test_one_structure_has_no_mean_beside_it() -> None:
    made = [{**x, "region": x["structure"] == "WT"} for x in rows()]
    assert layouts.unattacked(made).columns == ("Network", "TC", "WT")
    (table,) = layouts.defenses(made)
    assert {x[0] for x in table.rows} == {"TC", "WT"} and not any("mean" in x for x in table.notes)
    assert "Dice mean" not in layouts.attacks(made).columns and "Dice mean" not in modality_tables.modalities(made).columns


def test_what_does_nothing_is_no_attack() -> None:
    """A study may measure networks as they are: that is no attack, and neither its table nor its column speaks of one."""
    made = [*rows(("plain",)), *rows(budgets=(0.0,), attack="none")]
    _, table = layouts.defenses(made)
    assert table.title == "Dice without an attack, against plain"
    assert table.columns == ("Structure", "Network", "No attack", "p, No attack")
    assert any("differs from plain:" in x for x in table.notes)
    assert Results(made).attacked == ["plain"]


def test_attacked_channels_over_everything() -> None:
    made = rows(channels=("all", "T1"))
    found = {row[0]: row[1].number for row in modality_tables.channels(made).rows if isinstance(row[1], Measure)}
    conditions = [(n, f"{e} {{}}", s) for n in ("plain", "defended") for e in (0.02, 0.05) for s in ("TC", "WT")]
    expected = {c: np.mean([mean_of(n, e.format(c), s) for n, e, s in conditions]) for c in ("all", "T1")}
    assert found == pytest.approx(expected)


def test_perturbations_by_modality_in_cheng_s_layout() -> None:
    made = rows(channels=("T1", "all"), variants=("radius 1", "radius 15"))
    tables = modality_tables.perturbations(made)
    assert [x.title for x in tables] == ["fgsm on T1 only: plain", "fgsm on all modalities: plain"]
    parameters = [f"epsilon = {e}, radius {r}" for e in (0.02, 0.05) for r in (1, 15)]
    assert column(tables[0], "Parameters") == parameters
    beside = modality_tables.modalities(made)
    assert column(beside, "Channels")[:2] == ["T1", "all"]
    one, every = column(beside, "Dice mean")[:2]
    assert isinstance(one, Measure) and isinstance(every, Measure) and one.number > every.number
    whole = [mean_of("plain", "0.02 all", x) for x in ("TC", "WT")]
    found = [column(beside, f"Dice {x}")[1] for x in ("TC", "WT", "mean")]
    assert [x.number for x in found if isinstance(x, Measure)] == pytest.approx([*whole, np.mean(whole)])
    lines = modality_tables.quantile_lines(channel_rows(made))
    assert [x[0] for x in lines.texts] == ["T1", "T2"]
    assert [[x.number for x in row[1:] if isinstance(x, Measure)] for row in lines.rows] == [[200, 300], [201, 310]]


def test_everything_in_one_table_counts_the_missed() -> None:
    made = rows(networks=("plain",), budgets=(0.05,))
    table = robustness_tables.overview(made)
    assert [x["Structure"] for x in table.records] == ["TC", "WT"]
    lost = sum(falling("plain", "0.05 all", n, "TC") < 0.45 for n in range(6))
    assert table.records[0]["HD95 after (mm)"].endswith(f"({lost} of 6 missed)")
    won = [(1 - falling("plain", "0.05 all", n, "TC") / falling("plain", "0 all", n, "TC")) >= 0.3 for n in range(6)]
    assert float(table.records[0]["Success (%)"]) == pytest.approx(100 * np.mean(won), abs=0.05)
    low, high = map(float, table.records[0]["95 % interval"].split(" to "))
    assert low < mean_of("plain", "0.05 all", "TC") < high


def test_mean_degradation_over_kinds_and_severities() -> None:
    made = []
    for kind, severity, loss in (("blur", 1.0, 0.1), ("blur", 2.0, 0.4), ("gamma", 3.0, 0.2), ("blur", 0.0, 0.0)):

        def dice(network: str, condition: str, patient: int, structure: str, loss: float = loss) -> float:
            return 0.9 - (0.0 if condition.startswith("0 ") else loss)

        for row in rows(networks=("plain",), budgets=(severity or 0.5,), dice=dice, attack=kind):
            settings = {"attack": "physics-artefact", "kind": kind, "severity": severity}
            made.append({**row, "key": f"{row['key']}{kind}{severity}", "settings": settings})
    table = robustness_tables.degradations(made, weight=1.0)
    assert table.columns == ("Network", "All artefacts", "blur", "gamma")
    numbers = [x.number for x in table.rows[0][1:] if isinstance(x, Measure)]
    assert numbers == pytest.approx([(0.25 + 0.2) / 2, 0.25, 0.2])
    assert robustness_tables.degradations(rows()).rows == ()


def test_an_artefact_that_is_made_in_two_ways_is_two() -> None:
    """The second way must not take the place of the first at the same severity."""
    made = []
    for region, loss in (("none", 0.1), ("foreground", 0.4)):

        def dice(network: str, condition: str, patient: int, structure: str, loss: float = loss) -> float:
            return 0.9 - (0.0 if condition.startswith("0 ") else loss)

        for row in rows(networks=("plain",), budgets=(1.0,), dice=dice, attack="blurred", variants=(f"region {region}",)):
            made.append({**row, "settings": {"attack": "physics-artefact", "kind": "blur", "severity": 1.0, "region": region}})
    table = robustness_tables.degradations(made)
    numbers = [x.number for x in table.rows[0][1:] if isinstance(x, Measure)]
    assert numbers == pytest.approx([0.25, 0.4, 0.1])
    assert table.columns[2:] == ("blur, blurred, region foreground", "blur, blurred, region none")


def test_audits_checks_epochs_and_claims() -> None:
    kept = [
        {"network": "n", "structure": "mean", "epsilon": e, "plain": p, "audited": a, "strongest": s}
        for e, p, a, s in ((0.0, 0.9, 0.9, ""), (0.05, 0.6, 0.1, "transfer"))
    ]
    table = robustness_tables.audited(kept)
    assert table.records[0]["audited, epsilon = 0.05"] == "0.1" and table.records[0]["Strongest"] == "transfer"
    found = robustness_tables.checks([{"network": "n", "check": "c", "verdict": "warn", "number": 0.5, "sentence": "S."}])
    assert found.texts == [["n", "c", "warn", "0.5", "S."]]
    trained = [{"network": "n", "epoch": e, "IoU a": 0.1 * e, "IoU b": 0.3 * e, "Dice": 1.0} for e in range(3)]
    assert robustness_tables.epochs(trained, (1, 3, 9)).texts == [["n", "0", "0.4", ""]]
    claim = SimpleNamespace(text="T2 hurts least", source="Cheng, p. 4", verdict="holds", evidence="0.9 > 0.8")
    assert robustness_tables.claims([claim]).rows == (("T2 hurts least", "Cheng, p. 4", "holds", "0.9 > 0.8"),)


def test_a_study_without_results_makes_tables_without_rows() -> None:
    assert layouts.unattacked([]).rows == () and layouts.defenses([]) == [] and robustness_tables.overview([]).rows == ()
    assert modality_tables.perturbations([]) == [] and robustness_tables.audited([]).rows == ()
    assert Results([]).values("none", UNCHANGED, "TC") == {}


def test_tables_and_figures_of_an_attack_know_the_networks_that_it_was_made_on() -> None:
    """An attack that the study makes on one of two networks: the other has no row of dashes, no curve, and no test."""
    made = [*rows(attack="fgsm"), *rows(("defended",), attack="pgd")]
    both, one = layouts.defenses(made)
    assert {x[1] for x in both.rows} == {"plain", "defended"} and {x[1] for x in one.rows} == {"defended"}
    assert "no attack" in one.notes[1]
    counts = [len([x for x in by_budget(made, y).axes[0].get_lines() if len(x.get_xdata())]) for y in layouts.families(made)]
    assert counts == [2, 1]


def test_settings_of_settings_are_words() -> None:
    told = settings_in_words({"network": {"name": "UNet", "channels": [4, 8], "norm": None}, "epsilon": 0.05})
    assert told == "network (name UNet, channels 4 8, norm none), epsilon 0.05"
