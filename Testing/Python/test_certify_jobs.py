"""The job and the command that certify: their files, their scene, and wrong use."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from certificate_helpers import case_of, linear_model
from pydantic import ValidationError

from SegAdversarialLib import InputError, scene
from SegAdversarialLib.cli import main
from SegAdversarialLib.cli.certify import _sigma
from SegAdversarialLib.defenses.certificate import Certificate
from SegAdversarialLib.errors import Cancelled, first_problem
from SegAdversarialLib.formats import describe_file
from SegAdversarialLib.formats.source import DEFAULT_MODEL
from SegAdversarialLib.jobs import CertifyJob, run
from SegAdversarialLib.volumes.case import Case


def subject() -> Case:
    image = np.random.default_rng(0).normal(0, 3, (2, 4, 5, 6))
    return case_of(image, (image[0] > 0).astype(np.int16))


def a_job(folder: Path, **more: Any) -> CertifyJob:
    written = subject().write(folder / "case")
    label = str(written.pop("label"))
    case = {"channels": {name: str(path) for name, path in written.items()}, "label": label, "name": "toy"}
    return CertifyJob(case=case, output=str(folder / "out"), **{"sigma": 0.5, "sigma_units": "absolute", "n": 60, **more})


def test_the_files_hold_what_the_certificate_holds(tmp_path: Path) -> None:
    seen: list[Certificate] = []
    events: list[dict[str, Any]] = []
    rows = run(a_job(tmp_path), events.append, observe=seen.append, open_model=lambda _: linear_model((1.0, 0.1)))
    (found,), folder = seen, tmp_path / "out" / "certificate"
    for name, values in (("smoothed", found.labels), ("abstained", found.abstained), ("vote-share", found.vote_share)):
        read = np.asarray(nibabel.load(folder / f"{name}.nii.gz").dataobj)  # type: ignore[attr-defined]
        np.testing.assert_array_equal(read.T, values)
    read = np.asarray(nibabel.load(folder / "structures" / "tumour.nii.gz").dataobj)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(read.T, found.certain["tumour"])
    with (tmp_path / "out" / "results.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["certified Dice"]) == rows[0]["certified Dice"] <= rows[0]["smoothed Dice"]
    record = json.loads((folder / "result.json").read_text())
    assert record["radius"] == found.radius and record["certificate"]["sigmas"] == {"C0": 0.5, "C1": 0.5}
    assert [x["name"] for x in events if x["event"] == "result"] == ["certificate"]
    fractions = [x["fraction"] for x in events if x["event"] == "progress"]
    assert fractions == sorted(fractions) and fractions[-1] > 0.9


def test_run_again_it_gives_the_same_and_another_case_is_refused(tmp_path: Path) -> None:
    first = run(a_job(tmp_path), open_model=lambda _: linear_model((1.0, 0.1)))
    assert run(a_job(tmp_path), open_model=lambda _: linear_model((1.0, 0.1))) == first
    with pytest.raises(InputError, match="of another network"):
        run(a_job(tmp_path), open_model=lambda _: linear_model((1.0, 0.2), name="other", overlap=0.25))


def test_cancelled_it_leaves_nothing(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    with pytest.raises(Cancelled):
        run(
            a_job(tmp_path),
            events.append,
            lambda: any("copy 9 " in x.get("message", "") for x in events),
            open_model=lambda _: linear_model((1.0, 0.1)),
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--n", "20"], "at least n ="),
        (["--sigma", "0"], "above 0"),
        (["--sigma", "much"], "--sigma takes a number"),
        (["--tau", "0.4"], "tau"),
        (["--scene", "scene.txt"], ".mrb"),
    ],
)
def test_wrong_words_are_one_sentence(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert main(["certify", "--phantom", "7", "--phantom-size", "32", "--output", str(output), *words]) == 2
    assert message in capsys.readouterr().err
    assert not output.exists() or not list(output.iterdir())


@pytest.mark.parametrize(
    ("more", "message", "unread"),
    [
        ({"sigma": -1.0}, r"^sigma must be above 0 and finite; it is -1\b", True),
        ({"sigma": {"C0": 0.5, "C1": -0.5}}, "sigma must be above 0 and finite; it is -0.5", True),
        ({"sigma": float("nan")}, "sigma", True),
        ({"sigma": {"C0": 0.5, "T9": 0.5}}, "Sigma is given for T9; the network takes", False),
        ({"n": 5}, "With n = 5 draws nothing can be certified.*; give at least n = ", False),
        ({"alpha": 1e-30}, "nothing can be certified", False),
        ({"regions": {"all": (1, 9)}}, "needs label values that the model knows", False),
    ],
)
def test_what_is_wrong_is_told_before_the_network_is_opened(
    more: dict[str, Any], message: str, unread: bool, tmp_path: Path
) -> None:
    """By its description alone; noise that is none also before the case is read."""
    if unread:
        with pytest.raises(ValidationError) as caught:
            a_job(tmp_path, **more)
        assert re.search(message, first_problem(caught.value)), first_problem(caught.value)
        return
    opened: list[Any] = []
    known = replace(describe_file(DEFAULT_MODEL), channels=("C0", "C1"))
    with pytest.raises(InputError, match=message):
        run(a_job(tmp_path, **more), open_model=opened.append, describe=lambda _: known)
    assert not opened and not (tmp_path / "out").exists()
    with pytest.raises(InputError, match=message):  # also where nothing is known of it before it is open
        run(a_job(tmp_path, **more), open_model=lambda _: linear_model((1.0, 0.1)))


def test_sigma_is_a_number_or_one_for_each_channel() -> None:
    assert _sigma("0.05") == 0.05 and _sigma("T1=20,T2=35") == {"T1": 20.0, "T2": 35.0}


def test_a_certificate_shows_itself() -> None:
    from SegAdversarialLib import certify

    found = certify(linear_model((1.0, 0.1)), subject(), 0.5, 60, sigma_units="absolute")
    assert repr(found).startswith("<Certificate of subject: no change below L2 0.3372 lowers Dice")
    assert "certified Dice" in found._repr_html_() and "Enough votes" in found.table()
    assert list(found.frame()["structure"]) == ["tumour"]
    with pytest.raises(InputError, match="no structure liver"):
        found.get("liver")


def test_a_scene_holds_answer_abstention_and_votes(tmp_path: Path) -> None:
    pytest.importorskip("trame_slicer")
    pytest.importorskip("slicer")
    import slicer.util
    from vtk.util.numpy_support import vtk_to_numpy

    from SegAdversarialLib import certify

    found = certify(linear_model((1.0, 0.1)), subject(), 0.5, 60, sigma_units="absolute")
    holder = scene.new_application()
    nodes = scene.add_certificate(
        found.case,
        found.labels,
        found.abstained,
        found.vote_share,
        found.rows,
        scene=holder.scene,
        names={0: "background", 1: "tumour"},
    )
    segmentation = nodes.segmentation.GetSegmentation()
    names = [segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())]
    assert names == ["tumour", "abstained"]
    image = segmentation.GetNthSegment(1).GetRepresentation("Binary labelmap")
    values = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(found.labels.shape)
    np.testing.assert_array_equal(values == 2, found.abstained)
    np.testing.assert_array_equal(values == 1, (found.labels == 1) & ~found.abstained)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(nodes.votes), found.vote_share)
    assert nodes.votes.GetDisplayNode().GetColorNode().GetName() == "SegAdversarial votes"
    read = scene.read_scene(scene.write_scene(tmp_path / "scene.mrb", holder.scene))
    assert read.GetFirstNodeByName("share of votes - certificate") is not None
    with pytest.raises(InputError, match="belongs to another case"):
        scene.add_certificate(found.case, found.labels[:2], found.abstained, found.vote_share, found.rows, scene=holder.scene)
