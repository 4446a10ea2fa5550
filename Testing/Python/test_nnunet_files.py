"""Where nnU-Net's networks lie, which folds are taken, and what is refused."""

from __future__ import annotations

import builtins
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunet_helpers import DATASET, PLANS, plans_with, write_checkpoint, write_folder

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats import describe_file, open_model
from SegAdversarialLib.formats.nnunet import describe
from SegAdversarialLib.formats.plain_pickle import LeftOut, plain_data

NAME = "nnUNetTrainer__nnUNetPlans__3d_fullres"


def what(path: Path) -> str:
    found = describe(path)
    assert found is not None
    return found.content.what


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "results" / "Dataset011_Liver" / NAME, folds=("0", "2", "all"))


def test_all_folds_are_taken_unless_some_are_chosen(folder: Path) -> None:
    """The network of all cases is one of its own."""
    found = describe(folder)
    assert found is not None
    assert found.content.what == "a network trained with nnU-Net (3d_fullres, folds 0 and 2)"
    assert [x.parent.name for x in found.files[:2]] == ["fold_0", "fold_2"]
    assert found.files[2:] == (folder / "plans.json", folder / "dataset.json")
    assert (found.data, found.runs, found.warnings) == (found.files[0], (), ())
    assert what(folder / "fold_2").endswith("(3d_fullres, fold 2)")
    assert what(folder / "fold_2+fold_all").endswith("(3d_fullres, folds 2 and all)")
    assert what(folder / "fold_all").endswith("(3d_fullres, fold all)")
    with pytest.raises(InputError, match="has no fold_3; it has fold_all, fold_0, fold_2"):
        describe(folder / "fold_0+fold_3")


def test_a_fold_without_its_checkpoint_is_left_out_and_said(folder: Path) -> None:
    """As nnU-Net leaves it out; one that was asked for is missed."""
    final = folder / "fold_2" / "checkpoint_final.pth"
    final.rename(final.with_name("checkpoint_final (1).pth"))
    (folder / "fold_3").mkdir()
    found = describe(folder)
    assert found is not None and found.content.what.endswith("(3d_fullres, fold 0)")
    left = tuple(f"{x} holds no checkpoint_final.pth, and is left out." for x in ("fold_2", "fold_3"))
    assert found.warnings == left
    alone = describe(folder / "fold_0")
    assert alone is not None and alone.warnings == ()
    with pytest.raises(InputError, match="no checkpoint in fold_3; put checkpoint_final.pth there, or leave that fold out"):
        describe(folder / "fold_0+fold_3")


def test_only_the_fold_of_all_cases_is_there(tmp_path: Path) -> None:
    assert what(write_folder(tmp_path / NAME, folds=("all",))).endswith("(3d_fullres, fold all)")


def test_a_checkpoint_alone_says_all(folder: Path, tmp_path: Path) -> None:
    alone = (folder / "fold_0" / "checkpoint_final.pth").rename(tmp_path / "liver.pth")
    found = describe(alone)
    assert found is not None
    assert (found.files, found.settings["channels"]) == ((alone,), ["T1"])
    assert found.content.what.endswith("(3d_fullres, liver.pth)")
    assert describe_file(alone).channels == ("T1",)


def test_the_folders_plans_come_before_those_in_the_checkpoint(folder: Path) -> None:
    """As in nnU-Net, which reads no others."""
    (folder / "plans.json").write_text(json.dumps(plans_with(spacing=[6.0, 2.0, 2.0])))
    (folder / "dataset.json").unlink()
    for path in (folder, folder / "fold_2", folder / "plans.json"):
        found = describe(path)
        assert found is not None
        assert found.settings["preprocessing"]["spacing"] == [6.0, 2.0, 2.0]


def test_folders_above_it(folder: Path, tmp_path: Path) -> None:
    """One network is found from all of them; of several one must be named."""
    for above in (folder.parent, folder.parent.parent, tmp_path):
        assert what(above).endswith("(3d_fullres, folds 0 and 2)")
    write_folder(folder.parent / NAME.replace("3d_fullres", "2d"), folds=("0",))
    write_folder(folder.parent.parent / "Dataset012_Spleen" / NAME)
    with pytest.raises(InputError, match=rf"holds 2 networks of nnU-Net \({NAME[:-10]}2d, {NAME}\); give the folder of one"):
        describe(folder.parent)
    with pytest.raises(InputError, match="holds 3 networks of nnU-Net"):
        describe(folder.parent.parent)


def test_training_that_has_not_ended(folder: Path) -> None:
    final = folder / "fold_0" / "checkpoint_final.pth"
    final.rename(final.with_name("checkpoint_best.pth"))
    found = describe(folder)
    assert found is not None
    assert found.data.name == "checkpoint_best.pth"
    assert found.warnings == (
        "fold_0 has no checkpoint_final.pth, as its training has not ended; checkpoint_best.pth is taken.",
    )


def test_the_best_checkpoint_can_be_chosen(folder: Path) -> None:
    best = write_checkpoint(folder / "fold_0" / "checkpoint_best.pth")
    found = describe(best)
    assert found is not None
    assert (found.data, found.warnings) == (best, ())


def test_what_is_none_of_nnunets(tmp_path: Path) -> None:
    torch.save({"state_dict": {"weight": torch.zeros(1)}}, tmp_path / "weights.pth")
    (tmp_path / "fold_0").mkdir()
    (tmp_path / "plans.json").write_text('{"plan": 1}')
    torch.save({"weight": torch.zeros(1)}, tmp_path / "fold_0" / "checkpoint_best.pth")
    (tmp_path / "plans.json").unlink()
    for path in (tmp_path, tmp_path / "weights.pth", tmp_path / "fold_0", tmp_path / "nothing", tmp_path / ("x" * 500)):
        assert describe(path) is None


def test_what_is_missing_or_damaged_is_said(folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for name, content in (("plans.json", PLANS), ("dataset.json", DATASET)):
        (empty / name).write_text(json.dumps(content))
    with pytest.raises(InputError, match="whose weights are missing; a folder fold_0 with checkpoint_final.pth"):
        describe(empty)
    checkpoint = folder / "fold_0" / "checkpoint_final.pth"
    whole = checkpoint.read_bytes()
    for length in (0, 1, 3, 100, len(whole) // 2, len(whole) - 1):
        checkpoint.write_bytes(whole[:length])
        with pytest.raises(InputError, match="is no checkpoint of nnU-Net, or it is damaged; download or copy it again"):
            describe(folder)
    checkpoint.write_bytes(whole)
    (folder / "plans.json").write_text('{"configurations": ')
    with pytest.raises(InputError, match=r"plans\.json is no readable JSON"):
        describe(folder)
    (folder / "plans.json").write_text("[]")
    with pytest.raises(InputError, match=r"plans\.json must hold one JSON object; it holds a list"):
        describe(folder)
    with pytest.raises(InputError, match="and plans.json and dataset.json cannot be told from .*; put it into a folder"):
        describe(write_checkpoint(tmp_path / "odd.pth", init_args={"plans": 3}))


@pytest.mark.parametrize("init_args", [{"init_args": {}}, {"init_args": None}, {}])
def test_a_checkpoint_beside_its_plans(init_args: dict[str, Any], tmp_path: Path) -> None:
    """It need not lie in the folder of its fold, nor say its plans itself."""
    for name, content in (("plans.json", PLANS), ("dataset.json", DATASET)):
        (tmp_path / name).write_text(json.dumps(content))
    alone = write_checkpoint(tmp_path / "checkpoint_best.pth", **init_args)
    for path in (alone, tmp_path, tmp_path / "plans.json"):
        found = describe(path)
        assert found is not None and found.data == alone
        assert found.content.what == "a network trained with nnU-Net (3d_fullres, checkpoint_best.pth)"
        assert found.settings["channels"] == ["T1"] and {tmp_path / "plans.json", tmp_path / "dataset.json"} <= {
            *found.files,
            *((tmp_path / "plans.json", tmp_path / "dataset.json") if path == alone and not init_args else ()),
        }


def test_the_configuration_is_told_by_the_folder(tmp_path: Path) -> None:
    """Where plans have several and the checkpoint does not say which."""
    two = plans_with("2d")
    for folder in (tmp_path / NAME, tmp_path / "unnamed"):
        write_checkpoint(folder / "fold_0" / "checkpoint_final.pth", init_args={})
        for name, content in (("plans.json", two), ("dataset.json", DATASET)):
            (folder / name).write_text(json.dumps(content))
    assert what(tmp_path / NAME).endswith("(3d_fullres, fold 0)")
    with pytest.raises(InputError, match=r"and the configuration \(3d_fullres or 2d\) cannot be told from .*unnamed; put"):
        describe(tmp_path / "unnamed")


def test_networks_of_the_first_version(tmp_path: Path) -> None:
    (tmp_path / "fold_0").mkdir()
    (tmp_path / "plans.pkl").write_bytes(b"")
    (tmp_path / "fold_0" / "model_final_checkpoint.model").write_bytes(b"")
    with pytest.raises(InputError, match="trained with version 1 of nnU-Net"):
        describe(tmp_path)


class Canary:
    """What a hostile pickle would do: here it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return builtins.open, (str(self.path), "w")


def test_nothing_in_a_checkpoint_runs(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    content = pickle.dumps({"a": Canary(canary), "b": [1, (2.5, "c")], "d": {Canary(canary)}})
    found = plain_data(content, "it")
    assert isinstance(found["a"], LeftOut)
    assert found["b"] == [1, (2.5, "c")]
    path = write_checkpoint(tmp_path / "checkpoint_final.pth", current_epoch=Canary(canary))
    canary.unlink(missing_ok=True)  # torch.save may have touched nothing; loading must not
    assert describe(path) is not None
    assert not canary.exists()
    with pytest.raises(InputError, match="holds more than weights"):
        open_model(path, device="cpu")
    assert not canary.exists()


def test_a_pickle_that_promises_much_takes_little() -> None:
    """Marks are counted up to 2^32 - 1: memory for as many is not taken."""
    found = plain_data(b"\x80\x02}r\xff\xff\xff\xffX\x01\x00\x00\x00aK\x01s.", "it")
    assert found == {"a": 1}
    with pytest.raises(InputError, match="it is damaged"):
        plain_data(b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x0f.", "it")


@pytest.mark.parametrize("name", ["os.system", "subprocess.Popen", "torch.load", "nnunetv2.mine.Network", "torch.nn..x"])
def test_plans_import_nothing_but_networks(tmp_path: Path, name: str) -> None:
    architecture = plans_with()["configurations"]["3d_fullres"]["architecture"]
    with pytest.raises(InputError, match=f"name {name} to be imported, which could run programs"):
        describe(write_checkpoint(tmp_path / "a.pth", plans_with(architecture=architecture | {"network_class_name": name})))
    layers = architecture | {"arch_kwargs": architecture["arch_kwargs"] | {"nonlin": name}}
    with pytest.raises(InputError, match=f"name {name} to be imported"):
        describe(write_checkpoint(tmp_path / "a.pth", plans_with(architecture=layers)))


def test_zip_archives_of_others_are_passed_over(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("data.pkl", b"network_weights init_args trainer_name")
    with pytest.raises(InputError, match="is damaged"):
        describe(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("x/data.pkl", b"1")
        archive.writestr("y/data.pkl", b"2")
    assert describe(tmp_path / "b.zip") is None
