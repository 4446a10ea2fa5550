"""Least budgets in studies: from the worker through the store into tables and figures, against values worked out by hand."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_helpers import MadeUpStore, MadeUpStudy, results
from study_helpers import attack_cell, write_cases, write_network

from SegAdversarialLib import open_model
from SegAdversarialLib.attacks import make_attack
from SegAdversarialLib.cohorts.entry import Entry
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.studies import report, work
from SegAdversarialLib.studies.budget_tables import curves, least_budgets
from SegAdversarialLib.studies.database import TABLES
from SegAdversarialLib.studies.export import export
from SegAdversarialLib.studies.figures import by_least_budget
from SegAdversarialLib.studies.grouping import Results
from SegAdversarialLib.studies.papers.measured import Measured
from SegAdversarialLib.studies.records import THRESHOLD_COLUMNS, Cell, Outcome
from SegAdversarialLib.studies.report import contents
from SegAdversarialLib.studies.report.gathering import account
from SegAdversarialLib.studies.report.material import Account, Material
from SegAdversarialLib.studies.report.summary import effects, findings, limits
from SegAdversarialLib.studies.store import Store
from SegAdversarialLib.studies.work import run_cell

METHOD = {"attack": "pgd", "epsilon": 0.4, "steps": 4}


def threshold(upper: float, **changes: Any) -> dict[str, Any]:
    row = {"structure": "mean", "setting": "epsilon", "unit": "of the largest intensity", "drop": 0.3, "lower": 0.0}
    row |= {"upper": upper, "largest": 0.02, "before": 0.9, "after": 0.6, "searched": True}
    return row | changes


def placed(row: dict[str, Any], patient: int, network: str = "N", attack: str = "least-budget") -> dict[str, Any]:
    """A row with what the store says of its cell."""
    head = {"key": f"{network}/{attack}/{patient}", "network": network, "case": f"c{patient}", "patient": f"p{patient}"}
    head |= {"attack": attack, "variant": "", "repeat": 0, "settings": {}, "budget": 0.02, "budget_name": "epsilon"}
    return {**head, "channels": "all", **row}


def test_a_worker_hands_on_what_the_attack_found(tmp_path: Path) -> None:
    model, entry = write_network(tmp_path / "network"), write_cases(tmp_path / "cases", 1)[0]
    settings = {"attack": "least-budget", "method": METHOD, "against": "prediction", "probes": 3}
    work._memory.cache_clear()
    outcome = run_cell(replace(attack_cell(model, entry), settings=settings), tmp_path, threads=1)
    work._memory.cache_clear()
    network = open_model(model["path"], device="cpu")
    given = {key: value for key, value in settings.items() if key != "attack"}
    result = make_attack("least-budget", given)(network, Entry(**entry).read(network.head))
    assert [row["structure"] for row in outcome.thresholds] == ["mean", "left", "right"]
    for row, found in zip(outcome.thresholds, result.thresholds, strict=True):
        assert set(row) == set(THRESHOLD_COLUMNS)
        assert row["upper"] == (math.inf if found.upper is None else found.upper) and row["lower"] == found.lower
        assert row["searched"] == (row["structure"] == "mean") and row["setting"] == "epsilon"
    assert all("at budget" in row for row in outcome.trace)


def test_a_store_keeps_them_also_one_that_is_older(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    cells = [Cell(kind="attack", network="N", case=f"c{n}", attack="least-budget") for n in range(2)]
    with Store.open(path, "s") as store:
        store.add(cells)
        store.finish(cells[0], Outcome(structures=[{"structure": "WT"}]))
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE thresholds")  # as a store that was written before there were any
    with Store.open(path, reading=True) as store:
        assert list(store.thresholds()) == [] and [x.name for x in export(store, tmp_path / "old")] == [
            "results.csv",
            "cells.csv",
        ]
    with Store.open(path, "s") as store:
        store.finish(cells[1], Outcome(thresholds=[threshold(math.inf, searched=False), threshold(0.01)]))
    with Store.open(path, reading=True) as store:
        assert "thresholds" in TABLES
        first, second = store.thresholds()
        assert first["upper"] == math.inf and first["searched"] is False and first["unit"] == "of the largest intensity"
        assert second["upper"] == 0.01 and second["searched"] is True and second["case"] == "c1"
        export(store, tmp_path / "new")
    lines = (tmp_path / "new" / "thresholds.csv").read_text().splitlines()
    assert len(lines) == 3 and ",inf," in lines[1]


def test_the_table_has_medians_of_patients_and_counts_those_that_hold() -> None:
    rows = [placed(threshold(x), n) for n, x in enumerate((0.01, 0.004, math.inf, 0.02, 0.006))]
    rows += [placed(threshold(0.008), 1) | {"repeat": 1}]  # 0.004 and 0.008 of one patient are 0.006
    rows += [placed(threshold(math.inf, structure="core", searched=False), n) for n in range(2)]
    rows += [
        placed(threshold(0.2 + n / 10, setting="max_bias", unit="share of the intensity"), n, attack="coil") for n in (0, 1)
    ]
    table = least_budgets(rows)
    mean, core, coil = (dict(zip(table.columns, row)) for row in table.rows)
    assert (mean["n"], mean["Median"], mean["Least"], mean["Greatest"]) == (5, 0.01, 0.006, 0.02)
    assert mean["Not within the largest"] == "1 of 5" and mean["Largest allowed"] == 0.02 and mean["Search"] == "its own"
    assert (core["Structure"], core["Median"], core["Not within the largest"]) == ("core", "not within", "2 of 2")
    assert core["Search"] == "on the way" and core["Least"] is None
    assert (coil["Bounded by"], coil["Median"]) == ("max bias (%)", 25.0)


def searched_rows() -> list[dict[str, Any]]:
    """Two patients whose searches tried other budgets."""
    tried = {0: [(0, 0.9), (0.02, 0.1), (0.01, 0.5), (0.005, 0.8)], 1: [(0, 0.8), (0.02, 0.3), (0.01, 0.4), (0.015, 0.6)]}
    return [
        placed({"restart": 0, "iteration": n, "at budget": x, "dice mean": y, "dice core": y / 2}, patient)
        for patient, rows in tried.items()
        for n, (x, y) in enumerate(rows)
    ]


def test_dice_within_a_budget_is_the_lowest_of_all_that_were_tried_with_no_more() -> None:
    found = curves([*searched_rows(), placed({"iteration": 1, "dice mean": 0.0}, 0, attack="pgd")])
    (((network, label), own),) = found.items()
    assert network == "N" and "least-budget" in label and set(own) == {"mean", "core"}
    assert [x for x, _ in own["mean"]] == [0, 0.005, 0.01, 0.015, 0.02]
    assert [x["p0"] for _, x in own["mean"]] == [0.9, 0.8, 0.5, 0.5, 0.1]
    assert [x["p1"] for _, x in own["mean"]] == [0.8, 0.8, 0.4, 0.4, 0.3]
    assert [x["p1"] for _, x in own["core"]] == [0.4, 0.4, 0.2, 0.2, 0.15]


def test_the_figure_shows_the_means() -> None:
    figure = by_least_budget(searched_rows(), "max bias (%)", 100.0)
    axis = next(x for x in figure.axes if x.get_title() == "core")
    (line,) = axis.lines
    np.testing.assert_allclose(line.get_xdata(), [0, 0.5, 1, 1.5, 2])
    np.testing.assert_allclose(line.get_ydata(), np.array([0.85, 0.8, 0.45, 0.45, 0.2]) / 2)
    assert axis.get_xlabel() == "max bias (%)"
    assert line.get_drawstyle() == "steps-post", "what was found with a budget holds until the next one"


class _Searching(MadeUpStore):
    """A store of searches for the least epsilon."""

    def traces(self) -> Iterator[dict[str, Any]]:
        """Three budgets in each search."""
        for row in {row["key"]: row for row in self._rows}.values():
            for n, (budget, left) in enumerate(((0.0, 0.9), (0.02, 0.1), (0.01, 0.5))):
                yield {**row, "restart": 0, "iteration": n, "at budget": budget, "dice mean": left, "psnr": 40.0}


def test_a_report_has_the_table_and_the_curve_and_no_iterations_of_a_search() -> None:
    rows = results(patients=3, structures=("WT",), epsilons=(0.02,), channels=("all",))
    store = _Searching(rows)
    thresholds = [{**row, **threshold(0.01)} for row in {x["key"]: x for x in rows}.values()]
    material = Material("made-up", account(store, "", {}), results=Results(store.results()), thresholds=thresholds)
    table = next(x.table for x in contents.tables(material) if x.table.title == "Least budget")
    assert len(table.rows) == len({(x["network"], x["attack"]) for x in rows})
    drawn = {x.name: x for x in contents.figures(material, store.traces())}
    assert "by-iteration" not in drawn and {"least-budget-1", "least-budget-2", "least-budget-3"} <= set(drawn)
    assert drawn["least-budget-1"].figure.axes[0].get_xlabel() == "epsilon (of the largest intensity)"


def test_rows_of_another_kind_are_refused(tmp_path: Path) -> None:
    cell = Cell(kind="attack", network="N", case="c", attack="least-budget")
    with Store.open(tmp_path / "s.sqlite", "s") as store:
        store.add([cell])
        with pytest.raises((ValueError, InputError), match="no column"):
            store.finish(cell, Outcome(thresholds=[{"structure": "WT", "upper_end": 0.1}]))


def with_a_search(epsilon: float | None = 0.05) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of a search that breaks everything, each case at a budget of its own, beside those of an FGSM (None: alone)."""
    rows = [] if epsilon is None else results(patients=6, networks=("N",), epsilons=(epsilon,), channels=("all",))
    rows = [row | {"dice_before": 0.875} for row in rows if row["attack"] == "FGSM"]
    settings = {"attack": "least-budget", "method": {"attack": "fgsm", "epsilon": 0.05}}
    found = []
    for row in results(patients=6, networks=("N",), epsilons=(0.05,), channels=("all", "T1")):
        if row["attack"] == "FGSM":
            name = {"key": f"least/{row['key']}", "attack": "Least", "settings": settings}
            found.append(row | name | {"dice_before": 0.875, "dice_after": 0.0, "hd95_after": math.inf})
    return rows, found


class _Beside(_Searching):
    """A store of searches beside other attacks."""

    def thresholds(self) -> Iterator[dict[str, Any]]:
        """One for each search."""
        return ({**row, **threshold(0.01)} for row in {x["key"]: x for x in self._rows}.values() if row["attack"] == "Least")

    def audited(self) -> Iterator[dict[str, Any]]:
        """None."""
        return iter(())

    checks = audited


def contents_of(rows: list[dict[str, Any]]) -> tuple[Material, dict[str, Any], dict[str, Any]]:
    store = _Beside(rows)
    thresholds, channels = list(store.thresholds()), list(store.channels())
    material = Material("made-up", Account(), results=Results(rows), channels=channels, thresholds=thresholds)
    traces = (row for row in store.traces() if row["attack"] == "Least")
    drawn = {x.name: x for x in contents.figures(material, traces)}
    return material, {x.table.title: x.table for x in contents.tables(material)}, drawn


def test_a_search_counts_in_nothing_that_is_by_budget() -> None:
    plain, searches = with_a_search()
    material, tables, drawn = contents_of([*plain, *searches])
    alone, expected, figures = contents_of(plain)
    assert set(tables) == {*expected, "Least budget"} and len(tables["Least budget"].rows) == 2
    assert {"Dice under FGSM", "N under attack", "All results"} <= set(expected)
    for title, table in expected.items():
        assert repr(tables[title].rows) == repr(table.rows), title
    assert set(drawn) == {*figures, "least-budget-1"} and "dice-by-budget-1" in drawn
    assert effects(material.results)[0].condition == effects(alone.results)[0].condition
    said = "\n".join([*findings(material, effects(material.results)), *limits(material)])
    assert "strongest attack of this study, FGSM, epsilon = 0.05" in said and "missed altogether" not in said
    assert "2 attacks (FGSM, Least)" in said and "looked for with Least" in said and "channels attacked alone" not in said
    measured = Measured([*plain, *searches], searches, searches)
    assert measured.results == plain and measured.channels == measured.traces == []


def test_a_study_of_searches_alone_has_a_whole_report(tmp_path: Path) -> None:
    _, searches = with_a_search(None)
    _, tables, drawn = contents_of(searches)
    assert set(tables) == {"Dice without an attack", "Least budget", "Normal QQ plot of the intensities"}
    assert set(drawn) == {"least-budget-1"}
    assert "epsilon at most 0.05" in Results(searches).tried[0].label
    path = report.write(MadeUpStudy(), _Beside(searches), tmp_path / "report.html")  # type: ignore[arg-type]
    text = path.read_text(encoding="utf-8")
    assert "1 network segmented 6 cases before and after 1 attack (Least)" in text and "strongest attack" not in text
    assert (tmp_path / "figures" / "least-budget-1.png").is_file() and "epsilon = 0.05" not in text
