"""The papers' studies are studies: each is planned at each scale, on phantoms and on a given cohort."""

from __future__ import annotations

from pathlib import Path

import pytest

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.studies import papers
from SegAdversarialLib.studies.plan import Plan, plan
from SegAdversarialLib.studies.study import Study

GIVEN = "phantom:0-9@32"


def planned(name: str, scale: papers.Scale, cohort: str | None, folder: Path) -> Plan:
    return plan(Study.of(papers.study(name, scale, cohort), folder))


def learned_from(found: Plan) -> set[str]:
    return {x["patient"] for cell in found.cells if cell.kind in ("train", "generator") for x in cell.work["cohort"]}


@pytest.mark.parametrize("name", papers.NAMES)
@pytest.mark.parametrize(("scale", "cohort"), [("ci", None), ("phantom", None), ("paper", GIVEN)])
def test_nobody_is_attacked_whom_a_network_has_learned_from(
    name: str, scale: papers.Scale, cohort: str | None, tmp_path: Path
) -> None:
    found = planned(name, scale, cohort, tmp_path)
    attacked = {x.patient for x in found.cells if x.kind == "attack"}
    assert attacked and not attacked & learned_from(found) and not found.skipped
    if cohort is not None:
        assert len(attacked | learned_from(found)) == 10


@pytest.mark.parametrize("name", papers.NAMES)
def test_on_phantoms_there_are_patients_enough_for_a_verdict(name: str, tmp_path: Path) -> None:
    from SegAdversarialLib.studies.papers.judging import FEWEST

    assert len({x.patient for x in planned(name, "phantom", None, tmp_path).cells if x.kind == "attack"}) >= FEWEST


@pytest.mark.parametrize("name", papers.NAMES)
def test_the_study_that_is_written_down_is_the_same_study(name: str, tmp_path: Path) -> None:
    study = Study.of(papers.study(name, "ci"), tmp_path)
    again = Study.of(study.dump(), tmp_path / "elsewhere")
    assert [x.key for x in plan(again).cells] == [x.key for x in plan(study).cells]
    assert study.paper == name


def test_the_paper_s_scale_needs_its_kind_of_data() -> None:
    with pytest.raises(InputError, match="cohort"):
        papers.study("liu2021", "paper")
    with pytest.raises(InputError, match="phantom"):
        papers.study("liu2021", "huge")  # type: ignore[arg-type]
