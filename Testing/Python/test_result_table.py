"""The table that a terminal shows of what attacks did: readable in a line's width, and nothing of it missing."""

from __future__ import annotations

import re

import pytest

from SegAdversarialLib.cli.result_table import result_table
from SegAdversarialLib.evaluation.tables import format_table

NAMES = ["necrotic core", "oedema", "enhancing tumour", "WT", "TC", "ET", "mean"]


def row(attack: str, after: float, names: list[str] = NAMES) -> dict[str, object]:
    found: dict[str, object] = {"attack": attack, "reference": "label"}
    for n, name in enumerate(names):
        found |= {f"{name} Dice before": 0.9, f"{name} Dice after": after + n / 1000}
    return {**found, "mean PSNR": 31.5}


def test_a_table_that_fits_stays_as_it_is() -> None:
    rows = [row("fgsm", 0.1, ["tumour"]), row("pgd", 0.2, ["tumour"])]
    assert result_table(rows, 100) == format_table(rows)
    other = [{"structure": "a long name of something that is here " * 4, "volume": 1.0}]
    assert result_table(other, 40) == format_table(other)
    assert result_table([], 40) == ""


def test_structures_come_below_one_another_where_attacks_are_too_wide() -> None:
    lines = result_table([row("fgsm", 0.1), row("pgd", 0.2)], 100).splitlines()
    assert lines[0] == "Dice against the label, before and after:"
    assert lines[2].split() == ["structure", "before", "fgsm", "pgd"]
    told = {x[: len("enhancing tumour")].strip(): x[len("enhancing tumour") :].split() for x in lines[4:]}
    assert told.pop("mean PSNR") == ["31.5", "31.5"]
    assert list(told) == NAMES
    for n, name in enumerate(NAMES):
        assert list(map(float, told[name])) == pytest.approx([0.9, 0.1 + n / 1000, 0.2 + n / 1000])


@pytest.mark.parametrize("width", [45, 80, 100])
def test_many_attacks_come_in_blocks(width: int) -> None:
    rows = [row(f"attack-number-{n}", n / 100) for n in range(19)]
    text = result_table(rows, width)
    assert max(map(len, text.splitlines())) <= width
    assert re.findall(r"attack-number-\d+", text) == [str(x["attack"]) for x in rows]
    blocks = text.split("\n\n")[1:]
    assert len(blocks) == {45: 19, 80: 7, 100: 5}[width]
    for name in NAMES:
        line = [next(x for x in block.splitlines() if x.startswith(f"{name} ")) for block in blocks]
        after = [float(y) for x in line for y in x.removeprefix(name).split()[1:]]
        assert after == pytest.approx([float(str(x[f"{name} Dice after"])) for x in rows], abs=5e-4)
