"""A cohort: selected, split by patient, checked and read without stopping at wrong cases, and kept as plain data."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cohort_helpers import SHAPE, write_brats, write_image, write_label
from conftest import ROOT, tiny_network
from hypothesis import given
from hypothesis import strategies as st

from SegAdversarialLib import InputError, SegmentationModel, cohorts, phantom
from SegAdversarialLib.cli import main
from SegAdversarialLib.cli.arguments import build_parser
from SegAdversarialLib.cohorts import Cohort, Entry
from SegAdversarialLib.cohorts.finding import FOLDERS
from SegAdversarialLib.jobs.opening import open_case
from SegAdversarialLib.jobs.sources import CaseSource


def made_of(patients: list[str]) -> Cohort:
    entries = [Entry(name=f"case-{n}", patient=x, channels={"T1": f"{n}.nii.gz"}) for n, x in enumerate(patients)]
    return Cohort.of("made", "csv", entries)


@pytest.fixture
def mixed(tmp_path: Path) -> Cohort:
    """Seven cases, of which five are wrong, each in another way."""
    for n in range(7):
        write_brats(tmp_path, f"BraTS2021_0000{n}")
    place = {n: tmp_path / f"BraTS2021_0000{n}" / f"BraTS2021_0000{n}" for n in range(7)}
    os.remove(f"{place[1]}_t2.nii.gz")
    write_image(Path(f"{place[2]}_t1ce.nii.gz"), spacing=1.1)
    write_label(Path(f"{place[3]}_seg.nii.gz"), shape=(SHAPE[0], SHAPE[1], SHAPE[2] + 1))
    Path(f"{place[4]}_flair.nii.gz").write_bytes(b"no image")
    os.remove(f"{place[5]}_seg.nii.gz")
    return cohorts.find(tmp_path)


REASONS = ("channel T2 missing", "lies on another grid", "lies on another grid", "cannot be read as an image", "no reference")


def test_what_is_wrong_is_listed_case_by_case(mixed: Cohort) -> None:
    asked: list[tuple[float, str]] = []
    check = mixed.check(progress=lambda fraction, text: asked.append((fraction, text)))
    assert [x.name for x in check.findings] == [x.name for x in mixed.entries]
    assert [f"checking: {x.name}" for x in mixed.entries] == [x[1] for x in asked]
    assert list(check.wrong) == [f"BraTS2021_0000{n}" for n in range(1, 6)]
    for reason, expected in zip(check.wrong.values(), REASONS):
        assert expected in reason
    assert "5 of 7 cases wrong" in repr(check)
    assert "cannot be read as an image" in check._repr_html_()
    right = mixed.without(check.wrong)
    assert [x.name for x in right.entries] == ["BraTS2021_00000", "BraTS2021_00006"]
    assert not right.check(labels=True).wrong


def test_wrong_cases_are_skipped_and_told_of_at_the_end(mixed: Cohort, caplog: pytest.LogCaptureFixture) -> None:
    skipped: dict[str, str] = {}
    with caplog.at_level(logging.WARNING):
        names = [case.name for case in mixed.read(skipped=skipped)]
        told = [x.message for x in caplog.records if "skipped" in x.message]
    assert names == ["BraTS2021_00000", "BraTS2021_00006"]
    assert list(skipped) == list(mixed.check().wrong)
    assert len(told) == 1
    assert told[0].startswith("5 were skipped of the 7 cases")
    assert all(name in told[0] and reason in told[0] for name, reason in skipped.items())


def test_a_cohort_in_which_nothing_can_be_read(mixed: Cohort) -> None:
    with pytest.raises(InputError, match="None can be read of the 2 cases"):
        list(mixed[1:3])


def test_nothing_is_loaded_before_it_is_needed(tmp_path: Path) -> None:
    place = write_brats(tmp_path, "BraTS2021_00000")
    for path in place.iterdir():
        path.write_bytes(b"")
    cohort = cohorts.find(tmp_path)
    assert (len(cohort), len(cohort[:1]), cohort.check().wrong != {}) == (1, 1, True)
    with pytest.raises(InputError, match="incomplete"):
        cohort[0]


def test_a_network_says_which_channels_and_labels_it_needs(tmp_path: Path) -> None:
    for n in range(2):
        write_brats(tmp_path, f"BraTS2021_0000{n}", leave_out=("t2",) * n)
    cohort = cohorts.find(tmp_path)
    classes = {0: "background", 1: "necrosis", 2: "edema", 4: "enhancing tumor"}
    options: dict[str, Any] = {"classes": classes, "window": (4, 4, 4)}
    network = tiny_network(outputs=4).float()
    fits = SegmentationModel.from_network(network, channels=("flair", "T1"), **options)
    assert not cohort.check(fits, labels=True).wrong
    other = SegmentationModel.from_network(network, channels=("T2", "CT"), **options)
    wrong = cohort.check(other).wrong
    assert ["CT missing" in wrong["BraTS2021_00000"], "T2, CT missing" in wrong["BraTS2021_00001"]] == [True, True]
    options["classes"] = {0: "background", 1: "liver", 2: "spleen", 3: "kidney"}
    organs = SegmentationModel.from_network(network, channels=("T1", "FLAIR"), **options)
    assert all("leaves open which class" in x for x in cohort.check(organs, labels=True).wrong.values())
    assert not cohort[:1].check(organs).wrong


@given(
    patients=st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=40).filter(lambda x: len(set(x)) > 1),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**31),
)
def test_a_split_never_parts_a_patient(patients: list[str], share: float, seed: int) -> None:
    cohort = made_of(patients)
    training, validation = cohort.split(share, seed)
    assert not set(training.patients) & set(validation.patients)
    assert sorted(x.name for x in (*training.entries, *validation.entries)) == sorted(x.name for x in cohort.entries)
    count = len(set(patients))
    assert len(validation.patients) == min(max(round(share * count), 1), count - 1)
    assert cohort.split(share, seed) == (training, validation)
    # the order in which the files are found does not matter
    turned = Cohort.of("made", "csv", list(reversed(cohort.entries)))
    assert set(turned.split(share, seed)[1].patients) == set(validation.patients)


def test_splits_differ_by_their_seed_and_refuse_what_cannot_be_split() -> None:
    cohort = made_of([str(n) for n in range(50)])
    assert len({cohort.split(seed=n)[1].patients for n in range(5)}) == 5
    with pytest.raises(InputError, match="1 patient"):
        made_of(["a", "a"]).split()
    for share in (0.0, 1.0, -1, float("nan")):
        with pytest.raises(InputError, match="above 0 and below 1"):
            cohort.split(share)
    with pytest.raises(InputError, match="0 or more"):
        cohort.split(seed=-1)


def test_plain_data_are_the_way_there_and_back(mixed: Cohort) -> None:
    for cohort in (mixed[:3], cohorts.find("phantom:2@32")):
        text = json.dumps(cohort.data())
        assert Cohort.from_data(json.loads(text)) == cohort
    with pytest.raises(InputError, match="The cohort: there is no setting"):
        Cohort.from_data({**mixed.data(), "entries": [{"name": "a", "patient": "a", "colour": "red"}]})


@pytest.mark.parametrize("which", ["files", "phantom"])
def test_a_job_reads_the_same_case(tmp_path: Path, which: str) -> None:
    write_brats(tmp_path, "BraTS-GLI-00000-000")
    cohort = cohorts.find(tmp_path if which == "files" else "phantom:4-5@32")
    source = CaseSource.model_validate(json.loads(json.dumps(cohort.entries[-1].source())))
    there, here = open_case(source), cohort[-1]
    assert (there.name, there.channels, there.label_names) == (here.name, here.channels, here.label_names)
    np.testing.assert_array_equal(there.image, here.image)
    np.testing.assert_array_equal(there.label, here.label)


@pytest.mark.parametrize(
    ("text", "seeds", "shape"),
    [
        ("phantom:3", [0, 1, 2], (64, 64, 64)),
        ("phantom:5-7@48", [5, 6, 7], (48, 48, 48)),
        ("phantom:9,2", [9, 2], (64, 64, 64)),
        ("Phantom:1@32,40,48", [0], (32, 40, 48)),
    ],
)
def test_synthetic_subjects_by_name(text: str, seeds: list[int], shape: tuple[int, ...]) -> None:
    cohort = cohorts.find(text)
    assert [x.phantom and (x.phantom.seed, x.phantom.shape) for x in cohort.entries] == [(n, shape) for n in seeds]
    assert [x.name for x in cohort.entries] == [f"phantom-{n:03d}" for n in seeds]
    assert (cohort.channels, cohort.labelled) == (phantom.CHANNELS, True)


@pytest.mark.parametrize("text", ["x", "-1", "3@", "3@8", "0", "7-2", "0-999999999999", "1.5", "3@64,64", "²"])
def test_synthetic_subjects_that_cannot_be(text: str) -> None:
    with pytest.raises(InputError, match=f"phantom:{text}"):
        cohorts.find(f"phantom:{text}")


def test_a_place_without_cases_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    layouts = ("BraTS", "Decathlon", "nnU-Net", "CSV", "pictures", "folder for each subject", "phantom:32")
    (tmp_path / "picture.png").write_bytes(b"")
    with pytest.raises(InputError, match=f"no folder or file {tmp_path / 'nowhere'}; check the path[.]$"):
        cohorts.find(tmp_path / "nowhere")
    with pytest.raises(InputError, match="before a colon may stand msd, .*, brats, .*, phantom"):
        cohorts.find("bats:nowhere")
    for place in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(InputError) as error:
            cohorts.find(place)
        assert all(x in str(error.value) for x in (str(place), *layouts))
    for nothing in ("", "phantom:", "brats: ", 7, None):
        with pytest.raises(InputError, match="folder or"):
            cohorts.find(nothing)  # type: ignore[arg-type]
    for kind in ("brats", "msd", "nnunet", "pictures", "folders", "results", "csv"):
        with pytest.raises(InputError, match=str(tmp_path)):
            cohorts.find(f"{kind}:{tmp_path}")


def test_one_line_and_one_table(mixed: Cohort) -> None:
    assert repr(mixed[:3]).endswith("(brats): 3 cases; T1, T1ce, T2, FLAIR; with references; 1 wrong>")
    assert "2 cases of 1 patient" in repr(made_of(["a", "a"]))
    entries = [Entry(name=x, patient=x, channels={x: f"{x}.nii.gz"}) for x in ("CT", "MR", "PET")]
    assert "3 cases; no channel that half of them have; without references" in repr(Cohort.of("all", "folders", entries))
    assert "<td>channel T2 missing (there: T1, T1ce, FLAIR)</td>" in mixed._repr_html_()


def test_the_command_lists_cases_labels_and_what_is_wrong(mixed: Cohort, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cohort", mixed.name, "--labels"]) == 0
    printed = capsys.readouterr().out
    assert "necrotic and non-enhancing tumor core" in printed
    assert "2 of 7 cases can be used; 5 are skipped." in printed
    assert main(["cohort", mixed.name, "--events"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    cases = {x["case"]: x["problem"] for x in events if x["event"] == "case"}
    assert [name for name, problem in cases.items() if problem] == list(mixed.check().wrong)
    assert main(["cohort", f"{mixed.name}-not-there"]) == 2


def test_names_that_no_case_has_are_said(mixed: Cohort, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cohort", mixed.name, "--rename", "T1w=PD"]) == 2
    assert f"No case of {mixed.name} has a channel T1w that could be called PD; it has " in capsys.readouterr().err
    assert main(["cohort", "phantom:2@32", "--rename", "T1w=PD"]) == 2
    assert "called PD; it has T1, T1ce, T2, FLAIR." in capsys.readouterr().err
    for cohort in (mixed.name, "phantom:2@32"):  # as the papers say for cohorts of any make: there is a T1 anyway
        assert main(["cohort", cohort, "--rename", "T1w=T1"]) == 0
    assert main(["cohort", mixed.name, "--label-names", "99=liver"]) == 0
    assert "No reference has a label" not in capsys.readouterr().err  # which were not read
    assert main(["cohort", mixed.name, "--label-names", "99=liver", "--labels"]) == 0
    assert "No reference has a label 99 to be called liver." in capsys.readouterr().err


def test_the_page_runs_and_its_commands_are_commands(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "cohorts.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(block, "docs/cohorts.md", "exec"), {})
    assert "<Cohort phantom:6@32 (phantom): 6 cases; T1, T1ce, T2, FLAIR; with references>" in capsys.readouterr().out
    (commands,) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    for line in commands.splitlines():
        assert build_parser().parse_args(shlex.split(line)[1:]).command == "cohort"
    assert re.findall(r"^\| `([a-z]+)` \|", page, re.MULTILINE) == [*FOLDERS, "csv", "phantom"]


def test_real_subjects_are_found(real_data: Path) -> None:
    for folder, channels in (("glioma_mr4/TCGA-DU-7294", 4), ("ms_mr4", 4)):
        if not (real_data / folder).is_dir():
            pytest.skip(f"no {folder} in {real_data}")
        cohort = cohorts.find(real_data / folder)
        assert (len(cohort), len(cohort.channels), cohort.labelled, cohort.check().wrong) == (1, channels, True, {})
