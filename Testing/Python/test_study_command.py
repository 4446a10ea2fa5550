"""`segadversarial study`: the page's example is a study; a dry run leaves nothing; a study goes on, edited or not."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

from SegAdversarialLib.cli import main
from SegAdversarialLib.cli.study import SOME_FAILED
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.studies import execution, papers
from SegAdversarialLib.studies.budgets import Budgets
from SegAdversarialLib.studies.estimate import estimate, first_ones, timed
from SegAdversarialLib.studies.export import export
from SegAdversarialLib.studies.folder import StudyFolder
from SegAdversarialLib.studies.plan import plan
from SegAdversarialLib.studies.records import Cell, Outcome
from SegAdversarialLib.studies.running import run_study
from SegAdversarialLib.studies.store import Store
from SegAdversarialLib.studies.study import Study

PAGE = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")

SMALL = """study: small
cohort: phantom:0-1@32
networks: {unet: "builtin:brain-tumour-phantom"}
attacks:
  - {attack: fgsm, epsilon: [0.01, 0.05]}
audit: false
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL, encoding="utf-8")
    return path


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[Cell]:
    """The cells that were run, each in no time; those of case 1 at epsilon 0.05 come to nothing."""
    found: list[Cell] = []

    def run(store: Store, cells: list[Cell], folder: Path, **unused: Any) -> Any:
        for cell in cells:
            found.append(cell)
            if cell.case == "phantom-001" and cell.settings.get("epsilon") == 0.05:
                store.fail(cell, "no memory", poison=True)
                continue
            row = {"structure": "WT", "dice_before": 0.9, "dice_after": math.nan, "hd95_after": math.inf, "success": True}
            store.finish(cell, Outcome(structures=[row], trace=[{"iteration": 0, "loss": 0.5}], seconds=2.0))
        return store.counts()

    monkeypatch.setattr(execution, "run", run)
    return found


def command(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, str, str]:
    status = main(["study", *map(str, words)])
    out, err = capsys.readouterr()
    return status, out, err


def test_the_page_s_study_is_one(tmp_path: Path) -> None:
    (example,) = (x for x in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if x.startswith("study:"))
    path = tmp_path / "example.yaml"
    path.write_text(example, encoding="utf-8")
    found = plan(Study.read(path))
    fgsm, ifgsm, noise, artefact = 4 * 3, 2, 2 * 2, 2 * 3 * 2
    assert found.count("attack") == 6 * 2 * (fgsm + ifgsm + noise + artefact)
    assert (found.count("train"), found.count("audit"), found.skipped, found.notes) == (1, 2, {}, ())


def test_the_page_s_sentence_on_errors_is_true(tmp_path: Path) -> None:
    (example,) = (x for x in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if x.startswith("study:"))
    path = tmp_path / "my-study.yaml"
    path.write_text(example.replace("epochs: 2", "epoch: 2"), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        plan(Study.read(path))
    said = str(caught.value).removeprefix(f"{tmp_path}/")
    assert re.sub(r"line \d+", "line 9", said) in PAGE


def test_the_page_s_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "studies.md", "exec"), {})
    assert capsys.readouterr().out == "4 jobs\n"


def test_every_key_of_a_study_stands_on_the_page() -> None:
    assert {f"| `{x}` |" for x in Study.model_fields} <= set(re.findall(r"^\| `\w+` \|", PAGE, re.MULTILINE))


@pytest.mark.parametrize("name", papers.NAMES)
def test_the_papers_studies_are_studies(name: str, tmp_path: Path) -> None:
    study = Study.of(papers.study(name, "ci"), tmp_path)
    found = plan(study)
    assert found.count("attack") and study.paper == name
    StudyFolder.of(f"papers:{name}", tmp_path / "x").write(study)
    again = StudyFolder.of(f"papers:{name}", tmp_path / "x").study()
    assert [x.key for x in plan(again).cells] == [x.key for x in found.cells]


def test_a_dry_run_leaves_nothing(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = command(capsys, "plan", file)
    assert status == 0 and "small: 4 jobs on 2 cases of phantom:0-1@32." in out and "not known yet" in out
    assert list(file.parent.iterdir()) == [file]


def test_the_first_jobs_tell_how_long_all_take(file: Path, capsys: pytest.CaptureFixture[str], done: list[Cell]) -> None:
    status, out, _ = command(capsys, "plan", file, "--first", 1)
    assert status == 0 and len(done) == 1
    assert "The 3 jobs that wait will take one worker about 6 seconds, by the 1 done so far" in out
    run_study(file)
    assert len(done) == 4 and len({x.key for x in done}) == 4


def test_a_study_runs_once_and_goes_on_where_it_was_edited(
    file: Path, capsys: pytest.CaptureFixture[str], done: list[Cell]
) -> None:
    assert command(capsys, "resume", file)[0] == 2
    assert command(capsys, "run", file, "--no-report")[0] == SOME_FAILED
    assert len(done) == 4
    counts = run_study(file)
    assert (len(done), counts.done, counts.poisoned) == (4, 3, 1)
    file.write_text(SMALL.replace("[0.01, 0.05]", "[0.05, 0.1]"), encoding="utf-8")
    status, out, _ = command(capsys, "resume", file, "--no-report")
    assert status == SOME_FAILED and len(done) == 6
    assert "2 finished jobs are no longer in the study file: they are kept, but not reported." in out
    assert "1 failed too often (--retry tries them again)" in out and "Failed: unet, fgsm, phantom-001: no memory" in out
    assert run_study(file.with_suffix(""), retry=True).poisoned == 1 and len(done) == 7
    file.write_text(SMALL, encoding="utf-8")
    assert run_study(file).done == 3 and len(done) == 7
    assert yaml.safe_load((file.with_suffix("") / "study.yaml").read_text())["attacks"] == [
        {"attack": "fgsm", "epsilon": [0.01, 0.05]}
    ]


def test_status_says_what_there_is(file: Path, capsys: pytest.CaptureFixture[str], done: list[Cell]) -> None:
    status, _, err = command(capsys, "status", file)
    assert status == 2 and "has not been run yet" in err
    run_study(file)
    status, out, _ = command(capsys, "status", file.with_suffix(""))
    assert status == 0 and "3 of 4 jobs are done" in out and "Nobody runs it now." in out
    assert re.search(r"unet +fgsm +4 +3 +1", out)
    status, out, _ = command(capsys, "status", file, "--events")
    events = [json.loads(x) for x in out.splitlines()]
    assert status == 0 and events[0]["done"] == 3 and events[0]["runner"] is None


def test_another_name_or_a_wrong_file_changes_nothing(
    file: Path, capsys: pytest.CaptureFixture[str], done: list[Cell]
) -> None:
    run_study(file)
    folder = file.with_suffix("")
    before = {x: x.read_bytes() for x in folder.iterdir()}
    for text, says in (
        (SMALL.replace("study: small", "study: other"), 'holds the study "small", not "other"'),
        (SMALL.replace("epsilon:", "epsilom:"), "line 5 (attacks[0].epsilom): FGSM has no setting epsilom; the nearest"),
        (SMALL.replace("phantom:0-1@32", "brats:nowhere"), "line 2 (cohort): There is no folder"),
    ):
        file.write_text(text, encoding="utf-8")
        status, _, err = command(capsys, "run", file)
        assert status == 2 and says in err and "Traceback" not in err
        assert {x: x.read_bytes() for x in folder.iterdir()} == before


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_hold_what_the_store_holds(file: Path, done: list[Cell], kind: str, tmp_path: Path) -> None:
    run_study(file)
    read: dict[str, Callable[[Path], list[dict[str, Any]]]] = {"csv": _from_csv, "parquet": _from_parquet}
    with Store.open(file.with_suffix("") / "study.sqlite", reading=True) as store:
        export(store, tmp_path / "tables", [kind])  # type: ignore[list-item]
        results = read[kind](tmp_path / "tables" / f"results.{kind}")
        for row, found in zip(store.results(), results, strict=True):
            assert json.loads(found["settings"]) == row["settings"] and float(found["budget"]) == row["budget"]
            assert math.isnan(float(found["dice_after"])) and float(found["hd95_after"]) == math.inf
            assert found["iou_after"] in (None, "") and float(found["dice_before"]) == 0.9
            assert str(found["success"]) == "True" and int(found["repeat"]) == 0
        cells = read[kind](tmp_path / "tables" / f"cells.{kind}")
        assert [x["state"] for x in cells] == [x["state"] for x in store.cells()]
        traces = read[kind](tmp_path / "tables" / f"traces.{kind}")
        assert [float(x["loss"]) for x in traces] == [0.5] * 3
        assert not (tmp_path / "tables" / f"checks.{kind}").exists()


def _from_csv(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _from_parquet(path: Path) -> list[dict[str, Any]]:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return rows


def test_the_first_ones_are_of_every_sort_and_wait_for_nothing(tmp_path: Path) -> None:
    train = Cell("train", "own")
    cells = [train, *(Cell("attack", "own", f"c{n}", attack="a", needs=(train.key,)) for n in range(2))]
    cells += [Cell("attack", "unet", f"c{n}", attack=attack) for n in range(3) for attack in ("a", "b")]
    found = first_ones(cells, 4)
    assert [(x.kind, x.attack, x.case) for x in found] == [
        *(("train", "", ""), ("attack", "a", "c0"), ("attack", "b", "c0"), ("attack", "a", "c1")),
    ]
    assert len(first_ones(cells, 100)) == 7


def test_an_estimate_counts_each_sort_by_itself(tmp_path: Path) -> None:
    cells = [Cell("attack", "n", f"c{n}", attack=attack) for attack in ("quick", "slow") for n in range(10)]
    with Store.open(tmp_path / "s.sqlite") as store:
        store.add(cells)
        store.finish(cells[0], Outcome(seconds=1.0))
        store.finish(cells[10], Outcome(seconds=100.0))
        for found in (estimate(timed(store)), estimate(timed(store, cells))):
            assert found.seconds == pytest.approx(9 * 1 + 9 * 100) and found.unknown == () and found.waiting == 18


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        ([{"attack": "fgsm", "epsilon": x} for x in (0.1, 0.2)], [("epsilon", 0.1, ""), ("epsilon", 0.2, "")]),
        (
            [{"attack": "affine", "max_rotation": 10.0, "max_scale": x} for x in (1.0, 2.0)],
            [("max_scale", 1.0, ""), ("max_scale", 2.0, "")],
        ),
        ([{"attack": "affine", "max_rotation": 10.0, "max_scale": 1.0}], [("max_rotation", 10.0, "")]),
        (
            [{"attack": "universal-random-perturbation", "epsilon": 5.0, "radius": x} for x in (5.0, 10.0)],
            [("radius", 5.0, ""), ("radius", 10.0, "")],
        ),
        (
            [{"attack": "universal-random-perturbation", "epsilon": x, "radius": x} for x in (5.0, 10.0)],
            [("epsilon", 5.0, "radius 5"), ("epsilon", 10.0, "radius 10")],
        ),
        (
            [{"attack": "pgd", "epsilon": 0.1, "steps": x, "seed": x, "channels": [str(x)]} for x in (1, 2)],
            [("epsilon", 0.1, "steps 1"), ("epsilon", 0.1, "steps 2")],
        ),
        (
            [
                {"attack": "worst-of-k", "method": {"attack": "physics-artefact", "severity": x, "kind": "blur"}}
                for x in (1.0, 3.0)
            ],
            [("severity", 1.0, ""), ("severity", 3.0, "")],
        ),
        ([{"attack": "generative", "xi": None}], [("xi", None, "")]),
        ([{"attack": "of another version", "size": 1}], [("", None, "")]),
    ],
)
def test_what_bounds_an_attack_is_its_budget(grid: list[dict[str, Any]], expected: list[tuple[Any, ...]]) -> None:
    budgets = Budgets(("it", x) for x in grid)
    found = [budgets.of("it", x) for x in grid]
    assert [(x["budget_name"], x["budget"], x["variant"]) for x in found] == expected
