"""A second job in a folder of results: what is added, replaced, refused or taken away, and what an accident leaves."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import tiny_network, toy_case

from SegAdversarialLib import Case, InputError, SegmentationModel
from SegAdversarialLib.cli import main
from SegAdversarialLib.cli.arguments import build_parser
from SegAdversarialLib.errors import Cancelled
from SegAdversarialLib.jobs import AttackJob, EvaluateJob, SegmentJob, read_job, run
from SegAdversarialLib.model import windows_at_once
from SegAdversarialLib.volumes import files as files_module

CLASSES = {0: "background", 1: "core", 2: "rim"}
FGSM = {"attack": "fgsm"}
WEAK = {"attack": "fgsm", "epsilon": 0.01}
NOISE = {"attack": "uniform-noise"}


def opened(source: Any) -> SegmentationModel:
    return SegmentationModel.from_network(tiny_network(), channels=("A", "B"), classes=CLASSES)


def other_network(source: Any) -> SegmentationModel:
    return SegmentationModel.from_network(tiny_network(), channels=("A", "B"), classes=CLASSES, window=(8, 8, 8))


class Subject:
    """A case in files, and jobs on it that write into one folder."""

    def __init__(self, folder: Path, case: Case | None = None) -> None:
        self.case = case or toy_case()
        written = {name: str(path) for name, path in self.case.write(folder, ".nrrd").items()}
        self.source = {"label": written.pop("label", None), "channels": written, "name": self.case.name}

    def run(self, output: Path, *attacks: dict[str, Any], opener: Any = opened, **more: Any) -> list[str]:
        """Run an attack job; what it said of earlier results."""
        events: list[dict[str, Any]] = []
        cancel = more.pop("cancel", None)
        job = AttackJob(case=self.source, attacks=attacks, output=str(output), ending=".nrrd", **more)
        run(job, events.append, cancel, open_model=opener)
        said = [x["message"] for x in events if x["event"] == "log"]
        # the network's own Dice and how long it takes stand there, too
        return [x for x in said if not x.startswith("Before any attack: ") and not x.endswith("on this case.")]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(x.relative_to(folder)): x.read_bytes() for x in sorted(folder.rglob("*")) if x.is_file()}


def epsilons(output: Path) -> dict[str, float]:
    """What the folders hold; the table lists exactly these."""
    found = {}
    for path in output.glob("*/result.json"):
        attack = json.loads(path.read_text())["attack"]
        found[path.parent.name] = attack["epsilon"]
    with (output / "results.csv").open() as file:
        assert sorted(row["attack"] for row in csv.DictReader(file)) == sorted(found)
    assert not [x for x in output.iterdir() if x.name.startswith(".")]
    return found


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return Subject(tmp_path / "case")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_further_attacks_on_the_same_case_and_network_are_added(subject: Subject, output: Path) -> None:
    assert subject.run(output, FGSM, NOISE) == []
    before = contents(output / "uniform-noise")
    assert subject.run(output, WEAK) == [f"Earlier results in {output} stay: fgsm, uniform-noise."]
    assert epsilons(output) == {"fgsm": 0.05, "uniform-noise": 0.01, "fgsm-2": 0.01}
    # with the same settings, however they are said, a result is made anew in its own place
    said = subject.run(output, {**FGSM, "epsilon": 0.05, "seed": 0})
    assert said == [
        f"Earlier results in {output} are replaced: fgsm. Earlier results in {output} stay: uniform-noise, fgsm-2."
    ]
    assert epsilons(output) == {"fgsm": 0.05, "uniform-noise": 0.01, "fgsm-2": 0.01}
    assert contents(output / "uniform-noise") == before


def test_the_job_file_makes_all_that_is_there_again(subject: Subject, output: Path, tmp_path: Path) -> None:
    subject.run(output, FGSM, each_channel=True)
    subject.run(output, WEAK, NOISE)
    there = epsilons(output)
    assert set(there) == {"fgsm", "fgsm-A", "fgsm-B", "fgsm-2", "uniform-noise"}
    job = read_job(output / "job.json")
    run(job, open_model=opened)
    assert epsilons(output) == there
    run(job.model_copy(update={"output": str(tmp_path / "fresh")}), open_model=opened)
    assert epsilons(tmp_path / "fresh") == there
    shutil.rmtree(output / "fgsm-A")  # by hand: it is in no table and no job any more
    subject.run(output, NOISE)
    assert set(epsilons(output)) == {"fgsm", "fgsm-B", "fgsm-2", "uniform-noise"}
    assert len(json.loads((output / "job.json").read_text())["attacks"]) == 4


def other_subjects(tmp_path: Path) -> dict[str, tuple[Subject, Any, dict[str, Any]]]:
    """The same case but for one thing, by what the refusal calls it."""
    case = toy_case()
    assert case.label is not None
    image, moved, label = case.image.copy(), case.affine.copy(), case.label.copy()
    image[0, 2, 3, 4] += 1
    moved[0, 3] += 1
    label[0, 0, 0] = 1
    return {
        "another case": (Subject(tmp_path / "1", case.with_image(image)), opened, {}),
        "of another case": (Subject(tmp_path / "2", replace(case, affine=moved)), opened, {}),
        "another reference": (Subject(tmp_path / "3", replace(case, label=label)), opened, {}),
        "against another reference": (Subject(tmp_path / "4", replace(case, label=None)), opened, {}),
        "another network": (Subject(tmp_path / "5", case), other_network, {}),
        "other regions": (Subject(tmp_path / "6", case), opened, {"regions": {"all": (1, 2)}}),
    }


OTHERS = (
    "another case",
    "of another case",
    "another reference",
    "against another reference",
    "another network",
    "other regions",
)


@pytest.mark.parametrize("what", OTHERS)
def test_what_does_not_belong_into_one_table_is_refused(what: str, subject: Subject, output: Path, tmp_path: Path) -> None:
    subject.run(output, FGSM)
    before = contents(output)
    other, opener, more = other_subjects(tmp_path)[what]
    attack = {**NOISE} if other.source["label"] is None else WEAK
    with pytest.raises(InputError, match=f"holds results .*{what}.*overwrite"):
        other.run(output, attack, opener=opener, **more)
    assert contents(output) == before
    said = other.run(output, attack, opener=opener, overwrite=True, **more)
    assert said == [f"The earlier results in {output} go when the first new one is whole: fgsm."]
    (name,) = epsilons(output)
    assert json.loads((output / name / "result.json").read_text())["attack"]["attack"] == attack["attack"]
    assert json.loads((output / "job.json").read_text())["overwrite"] is False


def test_the_same_case_under_another_name_and_path_is_the_same(subject: Subject, output: Path, tmp_path: Path) -> None:
    subject.run(output, FGSM)
    Subject(tmp_path / "elsewhere", replace(toy_case(), name="other")).run(output, NOISE)
    assert set(epsilons(output)) == {"fgsm", "uniform-noise"}


def test_overwriting_takes_all_of_ours_and_nothing_of_the_users(subject: Subject, output: Path) -> None:
    subject.run(output, FGSM, NOISE)
    (output / "notes.txt").write_text("mine")
    (output / "pictures").mkdir()
    for name in ("fgsm.png", "uniform-noise.png", "holiday.png"):
        (output / "pictures" / name).write_text("drawn")
    (output / "scene.mrb").write_text("a scene")
    job = json.loads((output / "job.json").read_text())
    (output / "job.json").write_text(json.dumps({**job, "scene": str(output / "scene.mrb")}))
    subject.run(output, NOISE)
    assert sorted(x.name for x in (output / "pictures").iterdir()) == ["fgsm.png", "holiday.png"]
    (output / "job.json").write_text(json.dumps({**job, "scene": str(output / "scene.mrb")}))
    subject.run(output, WEAK, overwrite=True)
    assert epsilons(output) == {"fgsm": 0.01}
    left = {"fgsm", "job.json", "notes.txt", "pictures", "results.csv", "segmentation-clean.nrrd"}
    assert {x.name for x in output.iterdir()} == left
    assert [x.name for x in (output / "pictures").iterdir()] == ["holiday.png"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_stopping_before_anything_is_finished_leaves_the_earlier_results(
    overwrite: bool, subject: Subject, output: Path
) -> None:
    subject.run(output, FGSM, NOISE)
    before = contents(output)
    asked: list[int] = []
    with pytest.raises(Cancelled):
        subject.run(output, {"attack": "pgd"}, overwrite=overwrite, cancel=lambda: len(asked) > 3 or bool(asked.append(1)))
    after = contents(output)
    if not overwrite:  # what it will add stands in the job file already
        assert len(json.loads(after.pop("job.json"))["attacks"]) == 3
        before.pop("job.json")
    assert after == before


def test_stopping_later_keeps_what_is_finished_and_never_a_mixture(output: Path, tmp_path: Path) -> None:
    Subject(tmp_path / "1").run(output, FGSM, NOISE)
    other = Subject(tmp_path / "2", replace(toy_case(), image=toy_case().image + 1))
    finished = lambda: (output / "fgsm").is_dir() and epsilons(output)["fgsm"] == 0.01  # noqa: E731
    with pytest.raises(Cancelled):
        other.run(output, WEAK, {"attack": "pgd"}, overwrite=True, cancel=finished)
    assert epsilons(output) == {"fgsm": 0.01}
    assert len(json.loads((output / "job.json").read_text())["attacks"]) == 2


@pytest.mark.parametrize("accident", range(1, 9))
def test_an_accident_while_results_change_places_leaves_all_or_nothing(
    accident: int, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each single move may fail; then either everything is the earlier job's or everything the new one's."""
    Subject(tmp_path / "1").run(output, FGSM, NOISE)
    before, moves, move = contents(output), [], files_module.os.replace

    def failing(source: Any, target: Any) -> None:
        mine = ".replaced-" in str(target) or (".partial-" in str(source) and Path(target).parent == output)
        moves.append(1) if mine else None
        if mine and len(moves) == accident:
            raise OSError(5, "Input/output error")
        move(source, target)

    monkeypatch.setattr(files_module.os, "replace", failing)
    other = Subject(tmp_path / "2", replace(toy_case(), image=toy_case().image + 1))
    try:
        other.run(output, WEAK, overwrite=True)
    except InputError as error:
        assert "Cannot write" in str(error)
        assert contents(output) == before
    else:
        assert epsilons(output) == {"fgsm": 0.01}
    assert not [x for x in output.iterdir() if x.name.startswith(".")]


def test_other_kinds_of_jobs_do_not_share_a_folder(subject: Subject, output: Path, tmp_path: Path) -> None:
    subject.run(output, FGSM)
    changed = {"A": str(output / "fgsm" / "A.nrrd")}
    for job in (
        SegmentJob(case=subject.source, output=str(output)),
        EvaluateJob(case=subject.source, adversarial=changed, output=str(output)),
    ):
        with pytest.raises(InputError, match=f"another kind of job .attack, not {job.kind}."):
            run(job, open_model=opened)
    # what is measured would go with the results that it lies in
    before = contents(output)
    with pytest.raises(InputError, match="lies where results would be written"):
        run(EvaluateJob(case=subject.source, adversarial=changed, output=str(output), overwrite=True), open_model=opened)
    assert contents(output) == before
    run(SegmentJob(case=subject.source, output=str(output), overwrite=True), open_model=opened)
    assert sorted(contents(output)) == ["job.json", "results.csv", "segmentation-clean.nii.gz"]


def test_segmenting_or_measuring_again_replaces_unless_it_is_something_else(
    subject: Subject, output: Path, tmp_path: Path
) -> None:
    other = Subject(tmp_path / "other", toy_case().with_image(toy_case().image + 1))
    for kind, more in (("segment", {}), ("evaluate", {"adversarial": {"A": other.source["channels"]["A"]}})):
        make = {"segment": SegmentJob, "evaluate": EvaluateJob}[kind]
        place = str(output / kind)
        for _ in range(2):
            run(make(case=subject.source, output=place, **more), open_model=opened)
        before = contents(output / kind)
        with pytest.raises(InputError, match="another case"):
            run(make(case=other.source, output=place, **more), open_model=opened)
        assert contents(output / kind) == before
        run(make(case=other.source, output=place, overwrite=True, **more), open_model=opened)
        assert contents(output / kind) != before


@pytest.mark.parametrize("kind", ["attack", "segment"])
def test_a_measured_number_of_windows_at_once_is_said_and_no_other_network(
    kind: str, subject: Subject, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = list[int]()

    def quickest(network: Any, crops: Any, numbers: Any) -> int:
        measured.append(4 if measured else 2)  # a second time it would come out otherwise
        return measured[-1]

    monkeypatch.setattr(windows_at_once, "WORTH_MEASURING", 1)
    monkeypatch.setattr(windows_at_once, "MANY", {2: 4, 3: 4})
    monkeypatch.setattr(windows_at_once, "quickest", quickest)

    def opener(source: Any) -> SegmentationModel:
        batch = source.changes.get("window_batch")
        return SegmentationModel.from_network(
            tiny_network(), channels=("A", "B"), classes=CLASSES, window=(8, 8, 8), window_batch=batch
        )

    common = {"case": subject.source, "ending": ".nrrd"}
    job = (
        AttackJob(**common, attacks=(FGSM,), output=str(output))
        if kind == "attack"
        else SegmentJob(**common, output=str(output))
    )
    run(job, open_model=opener)
    written = json.loads((output / "job.json").read_text())
    assert written["model"]["changes"]["window_batch"] == 2
    again = type(job)(**{**written, "output": str(tmp_path / "again")})
    run(again, open_model=opener)
    assert measured == [2]
    results = [x for x in contents(output) if x.endswith((".nrrd", "trace.csv"))]
    assert results and all(contents(output)[x] == contents(tmp_path / "again")[x] for x in results)
    run(type(job)(**{**written, "output": str(output)}), open_model=opener)  # the same results: nothing is refused
    run(job, open_model=opener)
    assert measured == [2, 4]


def test_a_damaged_result_is_named_and_can_be_overwritten(subject: Subject, output: Path) -> None:
    subject.run(output, FGSM)
    record = json.loads((output / "fgsm" / "result.json").read_text())
    del record["fingerprints"]
    (output / "fgsm" / "result.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="does not tell what it was made of"):
        subject.run(output, NOISE)
    (output / "fgsm" / "result.json").write_text("{")
    with pytest.raises(InputError, match="no readable result"):
        subject.run(output, NOISE)
    subject.run(output, NOISE, overwrite=True)
    assert set(epsilons(output)) == {"uniform-noise"}


def test_records_say_what_makes_figures_mean_nothing(subject: Subject, output: Path, caplog: Any) -> None:
    """The toy network is wrong from the start: said once in the log, and in each result."""
    subject.run(output, FGSM, WEAK, NOISE)
    said = [x.getMessage() for x in caplog.records if "unchanged case is only" in x.getMessage()]
    assert len(said) == 1
    for name in epsilons(output):
        assert json.loads((output / name / "result.json").read_text())["notes"][0] == said[0]
    np.testing.assert_array_equal(subject.case.image, toy_case().image)


def test_the_command_line_overwrites_only_when_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, words, status in (("1", [], 0), ("2", [], 2), ("2", ["--overwrite"], 0)):
        command = ["segment", "--phantom", seed, "--phantom-size", "32", "--device", "cpu", "--output", str(tmp_path / "out")]
        assert main([*command, *words]) == status
    assert "holds the results of a job of another case; give another output folder, or overwrite" in capsys.readouterr().err
    job = tmp_path / "phantom.json"
    job.write_text(json.dumps({"kind": "phantom", "output": str(tmp_path / "cohort"), "shape": [32, 32, 32]}))
    assert main(["run", str(job), "--overwrite"]) == 2 and "does not overwrite" in capsys.readouterr().err
    for command in (["demo"], ["run", "x"], ["learn-universal", "--output", "x"]):
        assert build_parser().parse_args([*command, "--overwrite"]).overwrite is True
