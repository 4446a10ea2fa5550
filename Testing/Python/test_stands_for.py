"""Which labels of a reference a class covers can be said of every network: built in, described by a file, or by the caller."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_network, toy_case

from SegAdversarialLib import InputError, SegmentationModel, attacks, objectives, open_model
from SegAdversarialLib.cli import main
from SegAdversarialLib.formats import describe_file

BUILTIN = "builtin:brain-tumour-phantom"
CLASSES: dict[str, Any] = {"0": "background", "1": "core", "2": "rim"}


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A network whose classes stand in the file beside it; two of them in short, one with what it covers."""
    torch.jit.script(tiny_network().float()).save(str(tmp_path / "net.ts"))
    classes = [
        {"label": 0, "name": "background"},
        {"label": 1, "name": "core", "stands_for": [1, 3]},
        {"label": 2, "name": "rim"},
    ]
    (tmp_path / "net.json").write_text(json.dumps({"channels": ["A", "B"], "classes": classes}))
    return tmp_path / "net.ts"


def test_of_a_builtin_network() -> None:
    model = open_model(BUILTIN, device="cpu", stands_for={2: (2, 3)})
    assert model.head.labels == (0, 1, 2, 4) and model.head.regions == ((0,), (1,), (2, 3), (4,))
    assert describe_file(BUILTIN, stands_for={2: (2, 3)}).output_head() == model.head
    assert open_model(BUILTIN, device="cpu").head.regions == ((0,), (1,), (2,), (4,))


def test_of_classes_in_a_settings_file(network: Path) -> None:
    def regions(**changes: Any) -> tuple[tuple[int, ...], ...]:
        return describe_file(network, **changes).output_head().regions

    assert regions() == ((0,), (1, 3), (2,))
    assert regions(stands_for={2: [2, 4]}) == ((0,), (1, 3), (2, 4))  # what is not named stays
    assert regions(stands_for={"core": [5], "2": [2, 6]}) == ((0,), (5,), (2, 6))
    settings = json.loads(network.with_suffix(".json").read_text())
    network.with_suffix(".json").write_text(json.dumps({**settings, "classes": CLASSES, "stands_for": {"1": [1, 4]}}))
    assert regions() == ((0,), (1, 4), (2,))
    assert regions(classes={"0": "background", "7": "all", "9": "none"}) == ((0,), (7,), (9,))  # other classes: nothing of it
    case = toy_case(labels=3)
    model = open_model(network, trust=True, device="cpu", stands_for={"rim": (2, 5)})
    model.head.check_label((case.label == 2) * 5)


@pytest.mark.parametrize(
    ("covers", "message"),
    [
        ({"9": [1]}, "stands_for: 9 is no class; there are 0 background, 1 core, 2 rim"),
        ({"1": 3}, "stands_for.*list"),
        ({"1": ["many"]}, "stands_for.*whole number"),
        ([1, 2], "stands_for: it must be an object"),
    ],
)
def test_what_is_no_class_is_told(covers: Any, message: str, network: Path) -> None:
    with pytest.raises(InputError, match=message):
        describe_file(network, stands_for=covers)


def test_on_the_command_line(network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def shown(*words: str) -> str:
        status = main(["info", *words])
        told = capsys.readouterr()
        return told.out if status == 0 else told.err

    assert "1 necrotic core (stands for 1, 5)\n" in shown(BUILTIN, "--device", "cpu", "--stands-for", "1=1,5")
    assert "2 rim (stands for 2, 4)\n" in shown(str(network), "--stands-for", "rim=2,4")
    classes = ("--classes", "0=background,1=tumour,2=other")
    assert "1 tumour (stands for 1, 2, 4)\n" in shown(str(network), *classes, "--stands-for", "1=1,2,4")
    assert "9 is no class; there are 0 background, 1 core" in shown(str(network), "--stands-for", "9=1")
    assert "whole numbers separated by commas" in shown(str(network), "--stands-for", "1=many")


def test_a_label_that_nobody_covers_can_be_given_to_a_class_of_the_builtin_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = toy_case((32, 32, 32), ("T1", "T1ce", "T2", "FLAIR"), labels=4)
    case.write(tmp_path / "case")  # with a label 3, as BraTS has had it since 2023
    words = [
        "segment",
        "--device",
        "cpu",
        "--output",
        str(tmp_path / "out"),
        "--label",
        str(tmp_path / "case" / "label.nii.gz"),
    ]
    for channel in case.channels:
        words += ["--channel", f"{channel}={tmp_path / 'case' / channel}.nii.gz"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "label value(s) 3, which none of the network's classes" in said and '--label-names "3=background"' in said
    assert main([*words, "--stands-for", "4=3"]) == 0
    assert main([*words, "--overwrite", "--label-names", "3=background"]) == 0


def test_targets_of_a_network_whose_labels_are_regions() -> None:
    """A region means itself, with as little else as the regions' nesting allows; 0 means that nothing is there."""
    network = torch.nn.Conv3d(1, 3, 3, padding=1)
    nested = {2: (1, 2, 4), 1: (1, 4), 4: (4,)}
    names = {2: "WT", 1: "TC", 4: "ET"}
    model = SegmentationModel.from_network(network, channels=("A",), classes=names, regions=nested, head="sigmoid")
    case = toy_case(channels=("A",))
    wanted = {
        "WT": (1, 0, 0),
        "TC": (1, 1, 0),
        "et": (1, 1, 1),
        1: (1, 1, 0),
        2: (1, 0, 0),
        0: (0, 0, 0),
        "background": (0, 0, 0),
    }
    for target, claims in wanted.items():
        reference = torch.tensor(claims, dtype=torch.bool)[:, None, None, None].expand(3, *case.shape).numpy()
        result = attacks.TIFGSM(target=target, steps=1, keep="last")(model, case)
        _, gradient = model.value_and_gradient(case, objectives.SoftDice(reference.astype(np.float32)))
        step = result.adversarial.image - case.image
        assert (step[0] * np.sign(gradient[0]) <= 0).all() and (step != 0).mean() > 0.9, target
    with pytest.raises(InputError, match="no class 3; it has 2 WT, 1 TC, 4 ET"):
        attacks.TIFGSM(target=3)(model, case)
