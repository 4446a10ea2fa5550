"""What results call a network: something that tells it from others, whatever its files are called."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from foreign_helpers import NETWORKS
from nnunet_helpers import PLANS, write_checkpoint, write_folder

from SegAdversarialLib.formats import describe_file, open_model
from SegAdversarialLib.formats.describing import resolve
from SegAdversarialLib.formats.naming import telling_name

NAME = "nnUNetTrainer__nnUNetPlans__3d_fullres"
WHOLE = "Dataset011_Liver 3d_fullres"


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        (".", WHOLE),
        ("..", WHOLE),
        ("plans.json", WHOLE),
        ("dataset.json", WHOLE),
        ("fold_0", f"{WHOLE} fold 0"),
        ("fold_0+fold_2", f"{WHOLE} fold 0+2"),
        ("fold_2/checkpoint_final.pth", f"{WHOLE} fold 2"),
        ("fold_2/checkpoint_best.pth", f"{WHOLE} fold 2 checkpoint_best"),
    ],
)
def test_nnunets_networks_are_called_by_data_set_and_configuration(tmp_path: Path, inside: str, expected: str) -> None:
    folder = write_folder(tmp_path / "Dataset011_Liver" / NAME, folds=("0", "2"))
    write_checkpoint(folder / "fold_2" / "checkpoint_best.pth")
    given = folder if inside == "." else folder.parent if inside == ".." else folder / inside
    assert describe_file(given).name == expected


def test_a_checkpoint_alone_and_plans_without_a_name(tmp_path: Path) -> None:
    alone = write_checkpoint(tmp_path / "liver.pth")
    assert describe_file(alone).name == WHOLE
    nameless = {key: x for key, x in PLANS.items() if key != "dataset_name"}
    assert describe_file(write_checkpoint(tmp_path / "other.pth", nameless)).name == "other"
    inside = write_checkpoint(tmp_path / "mine" / "checkpoint.pth", nameless)
    assert describe_file(inside).name == "mine"


def test_bundles_are_called_as_their_folder_or_archive(tmp_path: Path) -> None:
    folder = tmp_path / "spleen_v0.5.9"
    shutil.copytree(NETWORKS / "monai-softmax", folder)
    shutil.copy(folder / "models" / "model.pt", folder / "models" / "second.pt")
    shutil.copy(folder / "configs" / "inference.json", folder / "configs" / "inference_lowres.json")
    named = {
        "": "spleen_v0.5.9",
        "configs/inference.json": "spleen_v0.5.9",
        "configs/inference_lowres.json": "spleen_v0.5.9 inference_lowres",
        "models/model.pt": "spleen_v0.5.9",
        "models/second.pt": "spleen_v0.5.9 second",
    }
    assert {x: describe_file(folder / x).name for x in named} == named
    assert open_model(folder / "models" / "model.pt", device="cpu").name == "spleen_v0.5.9"
    archive = Path(shutil.make_archive(str(tmp_path / "packed_v1.0"), "zip", folder))
    assert describe_file(archive).name == "packed_v1.0"


def test_auto3dsegs_networks_are_called_as_their_folder(tmp_path: Path) -> None:
    shutil.copytree(NETWORKS / "auto3dseg", tmp_path / "segresnet_0")
    for given in (tmp_path / "segresnet_0", tmp_path / "segresnet_0" / "model" / "model.pt"):
        assert describe_file(given).name == "segresnet_0"


def test_own_files_are_called_as_their_folder_where_their_names_say_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "liver.2026" / "models"
    folder.mkdir(parents=True)
    torch.save(torch.nn.Conv3d(1, 2, 1).state_dict(), folder / "model.pt")
    said = {"channels": ["T1"], "classes": ["background", "liver"], "weights": "model.pt"}
    network = {"name": "UNet", "arguments": {"spatial_dims": 3}}
    (folder / "model.json").write_text(json.dumps(said | {"network": network}))
    shutil.copy(folder / "model.json", folder / "Liver unet.json")
    assert resolve(folder / "model.json", None, {}).name(folder / "model.json") == "liver.2026"
    assert describe_file(folder / "model.pt").name == "liver.2026"
    assert describe_file(folder / "Liver unet.json").name == "Liver unet"
    monkeypatch.chdir(folder)
    assert describe_file("model.json").name == "liver.2026"
    assert describe_file("builtin:brain-tumour-phantom").name == "builtin:brain-tumour-phantom"


def test_a_name_that_says_nothing_is_better_than_none() -> None:
    assert telling_name(Path("/model/best/model.pt")) == "model"
