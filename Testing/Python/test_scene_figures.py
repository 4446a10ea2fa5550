"""Figures without images in a scene: a training while it goes on, and an audit."""

from __future__ import annotations

import math
from typing import Any

import pytest
from scene_helpers import _scene  # noqa: F401  (a fixture)

ROWS = [{"epoch": n, "loss": 2.0 / (n + 1), "Dice": n / 10, "Dice core": n / 20, "IoU core": n / 40} for n in range(4)]


def columns(node: Any) -> dict[str, list[float]]:
    found = [node.GetTable().GetColumn(n) for n in range(node.GetNumberOfColumns())]
    return {x.GetName(): [x.GetValue(n) for n in range(x.GetNumberOfTuples())] for x in found}


def curves(scene: Any, **record: Any) -> Any:
    from SegAdversarialLib.scene import TrainingCurves

    return TrainingCurves(scene, title="Standard training, UNet", record=record)


def test_a_training_grows_by_a_row_for_each_epoch(scene: Any) -> None:
    from SegAdversarialLib.scene import FigureNodes, configuration_of, find_runs

    made = curves(scene, folder="somewhere")
    assert made.nodes is None and made.there and not find_runs(scene)
    for n, row in enumerate(ROWS):
        made.add(row)
        table = columns(made.nodes.table)
        assert table["epoch"] == [x + 1 for x in range(n + 1)] and table["loss"] == [x["loss"] for x in ROWS[: n + 1]]
    assert [x.GetYColumnName() for x in made.nodes.series] == ["loss", "Dice", "Dice core"]
    assert {x.GetXColumnName() for x in made.nodes.series} == {"epoch"}
    (found,) = find_runs(scene)
    assert isinstance(found, FigureNodes) and found.table is made.nodes.table and found.chart is made.nodes.chart
    assert configuration_of(found) == {"folder": "somewhere"}


def test_a_structure_has_the_colour_that_it_has_in_images(scene: Any) -> None:
    from SegAdversarialLib.scene import TrainingCurves
    from SegAdversarialLib.scene.segmentations import color_of

    made = TrainingCurves(scene, classes={1: "necrosis", 2: "oedema", 4: "core"})
    made.add({**ROWS[0], "Dice oedema": 0.3, "Dice WT": 0.4})
    drawn = {x.GetYColumnName(): x.GetColor() for x in made.nodes.series}
    assert drawn["Dice core"] == pytest.approx(color_of(4)) and drawn["Dice oedema"] == pytest.approx(color_of(2))


def test_an_epoch_that_is_told_again_takes_its_own_place(scene: Any) -> None:
    made = curves(scene)
    for row in (*ROWS, {**ROWS[2], "loss": 7.0}, {"epoch": 3, "loss": None, "Dice": 0.5, "new": 1.0}):
        made.add(row)
    table = columns(made.nodes.table)
    assert table["epoch"] == [1, 2, 3, 4] and table["loss"][2] == 7.0 and math.isnan(table["loss"][3])
    assert math.isnan(table["new"][0]) and table["new"][3] == 1.0


@pytest.mark.parametrize("gone", ["table", "chart"])
def test_what_the_user_deletes_meanwhile_is_not_made_again(scene: Any, gone: str) -> None:
    made = curves(scene)
    made.add(ROWS[0])
    scene.RemoveNode(getattr(made.nodes, gone))
    count = scene.GetNumberOfNodes()
    made.add(ROWS[1])
    assert not made.there and scene.GetNumberOfNodes() == count


def test_an_audit_has_its_checks_and_its_curves(scene: Any) -> None:
    from SegAdversarialLib.scene import add_audit, find_runs

    rows = [{"check": "Dice never rises", "verdict": "pass", "number": math.nan, "sentence": "It does not."}]
    epsilons = [
        {"epsilon": e, "random noise": 0.9, "fgsm": None if e == 1 else 0.5, "audited Dice": 0.1, "audited Dice core": 0.2}
        | {"strongest": "pgd"}
        for e in (0.0, 0.05, 1.0)
    ]
    nodes = add_audit(rows, epsilons, scene, title="audit of a network")
    drawn = columns(nodes.numbers)
    assert drawn["epsilon"] == [0, 0.05, 1] and math.isnan(drawn["fgsm"][2]) and "strongest" not in drawn
    assert [x.GetYColumnName() for x in nodes.series] == ["random noise", "fgsm", "audited Dice"]
    assert [nodes.table.GetCellText(0, n) for n in range(2)] == ["Dice never rises", "pass"]
    (found,) = find_runs(scene)
    assert found.run == nodes.run and found.summary == "audit of a network" and found.numbers is nodes.numbers
