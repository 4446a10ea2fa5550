"""The examples of docs/references.md, each as it is printed there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from SegAdversarialLib.structures.matching import match
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.structures.segments import Segment

PAGE = Path(__file__).parents[2] / "docs" / "references.md"
ROWS = [
    tuple(cell.strip() for cell in line.strip("|").split("|"))
    for line in PAGE.read_text(encoding="utf-8").partition("| are |")[2].partition("\n## ")[0].splitlines()
    if line.startswith("| `")
]


def head_of(text: str) -> OutputHead:
    classes, regions = {0: "background"}, {}
    for label, name, covered in re.findall(r"(\d+) ([^,(]+?)(?: \(([\d, ]+)\))?(?:, |$)", text):
        classes[int(label)] = name
        if covered:
            regions[int(label)] = [int(x) for x in covered.split(",")]
    return OutputHead.of(classes, regions=regions)


def test_all_examples_are_found() -> None:
    assert len(ROWS) == 14 and all(len(row) == 3 for row in ROWS)


@pytest.mark.parametrize(("drawn", "classes", "answer"), ROWS)
def test_an_example_is_true(drawn: str, classes: str, answer: str) -> None:
    head = head_of(classes)
    segments = [Segment(name, (n,), int(number)) for n, (name, number) in enumerate(re.findall(r"`(.+?)` (\d+)", drawn), 1)]
    found = match(segments, head)
    if answer.startswith("asks for"):
        assert [segments[n].name for n in found.undecided] == re.findall(r"`(.+?)`", answer)
        return
    names = []
    for n in range(len(segments)):
        labels = {found.labels[n]} if n in found.labels else found.structures[n].labels
        holders = [f"`{name}`" for name, region in zip(head.names, head.regions) if labels and labels <= set(region)]
        names.append(holders[0] if holders else "none")
    assert ", ".join(names) == answer
