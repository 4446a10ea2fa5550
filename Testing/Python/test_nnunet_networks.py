"""The networks that nnU-Net's plans describe, whoever trained them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunet_helpers import CONFIGURATION, PLANS, plans_with, write_checkpoint, write_folder

from SegAdversarialLib import Case
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats import nnunet_network, open_model
from SegAdversarialLib.formats.nnunet import describe
from SegAdversarialLib.formats.nnunet_network import Architecture

unet = pytest.importorskip("dynamic_network_architectures.architectures.unet", reason="nnU-Net's networks are not installed")


def plain(norm: type = torch.nn.InstanceNorm3d, features: tuple[int, int] = (4, 4), seed: int = 0) -> torch.nn.Module:
    """The network of the helpers' plans, made by hand as nnU-Net's trainers make it, with deep supervision."""
    torch.manual_seed(seed)
    arguments = CONFIGURATION["architecture"]["arch_kwargs"]
    layers = {"conv_op": torch.nn.Conv3d, "norm_op": norm, "nonlin": torch.nn.LeakyReLU, "features_per_stage": features}
    made: torch.nn.Module = unet.PlainConvUNet(1, num_classes=3, deep_supervision=True, **(arguments | layers))
    return made


def opened(path: Path) -> torch.nn.Module:
    return open_model(path, device="cpu").network


def same(some: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Whether two networks say the same of some image; deep supervision off, as when nnU-Net predicts."""
    other.decoder.deep_supervision = False
    batch = torch.randn(1, 1, 8, 16, 16)
    with torch.no_grad():
        return torch.equal(some.eval()(batch), other.eval()(batch))


@pytest.mark.parametrize("prefix", ["", "_orig_mod.", "module."])
def test_a_trained_unet(tmp_path: Path, prefix: str) -> None:
    """With the words of compilers and parallel trainers before its weights' names, or without."""
    network = plain()
    weights = {f"{prefix}{name}": x for name, x in network.state_dict().items()}
    assert same(opened(write_checkpoint(tmp_path / "a.pth", weights=weights)), network)


def test_batch_norms_of_the_trainer_bn(tmp_path: Path) -> None:
    """This trainer builds another network than its plans say."""
    network = plain(torch.nn.BatchNorm3d).train()
    network(torch.randn(2, 1, 8, 16, 16))  # running means that are not those of the beginning
    path = write_checkpoint(tmp_path / "a.pth", weights=network.state_dict(), trainer_name="nnUNetTrainerBN")
    found = describe(path)
    assert found is not None and found.warnings == ()
    assert same(opened(path), network)


def test_plans_before_2_3(tmp_path: Path) -> None:
    """They say the parts of a U-Net in words of their own."""
    first = {key: value for key, value in CONFIGURATION.items() if key != "architecture"} | {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 4,
        "unet_max_num_features": 6,
        "n_conv_per_stage_encoder": [1, 1],
        "n_conv_per_stage_decoder": [1],
        "num_pool_per_axis": [0, 1, 1],
        "pool_op_kernel_sizes": [[1, 1, 1], [1, 2, 2]],
        "conv_kernel_sizes": [[3, 3, 3], [3, 3, 3]],
    }
    network = plain(features=(4, 6))
    plans = PLANS | {"configurations": {"3d_fullres": first}}
    assert same(opened(write_checkpoint(tmp_path / "a.pth", plans, weights=network.state_dict())), network)
    residual = first | {"UNet_class_name": "ResidualEncoderUNet"}
    made = Architecture.of(residual, "nnUNetTrainer", 1, 3, tmp_path).network()
    assert type(made) is unet.ResidualEncoderUNet
    with pytest.raises(InputError, match="do not describe a network"):
        describe(write_checkpoint(tmp_path / "b.pth", plans_with() | {"configurations": {"3d_fullres": {
            **first, "UNet_class_name": "Transformer"}}}))  # fmt: skip


def test_folds_answer_with_the_mean_of_their_logits(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "net", folds=("0", "1"))
    networks = [plain(seed=0), plain(seed=1)]
    for fold, network in enumerate(networks):
        network.decoder.deep_supervision = False
        write_checkpoint(folder / f"fold_{fold}" / "checkpoint_final.pth", weights=network.state_dict())
    batch = torch.randn(1, 1, 8, 16, 16)
    with torch.no_grad():
        expected = (networks[0].eval()(batch) + networks[1].eval()(batch)) / 2
        torch.testing.assert_close(opened(folder)(batch), expected)
        assert torch.equal(opened(folder / "fold_1")(batch), networks[1](batch))


@pytest.mark.parametrize(
    "trainer, known",
    [
        ("nnUNetTrainer", True),
        ("nnUNetTrainerNoDeepSupervision", True),
        ("nnUNetTrainer_4000epochs_NoMirroring", True),
        ("nnUNetTrainer_DASegOrd0_NoMirroring", True),
        ("nnUNetTrainerDA5_10epochs", True),
        ("nnUNetTrainer_probabilisticOversampling_033", True),
        ("nnUNetTrainerUMambaBot", False),
        ("nnUNetTrainerMine", False),
    ],
)
def test_other_peoples_trainers_are_named(tmp_path: Path, trainer: str, known: bool) -> None:
    network = plain()
    path = write_checkpoint(tmp_path / "a.pth", weights=network.state_dict(), trainer_name=trainer)
    found = describe(path)
    assert found is not None
    assert [trainer in x for x in found.warnings] == ([] if known else [True])
    assert same(opened(path), network)
    torch.save({**torch.load(path, weights_only=False), "network_weights": {"conv.weight": torch.zeros(1)}}, path)
    with pytest.raises(InputError) as caught:
        open_model(path, device="cpu")
    assert (f"its trainer {trainer} may build another network" in str(caught.value)) != known
    assert "do not belong to this PlainConvUNet" in str(caught.value)


def test_weights_of_another_size(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "a.pth", weights=plain(features=(4, 6)).state_dict())
    with pytest.raises(InputError, match=r"has the shape \(6, 4, 3, 3, 3\), in the network \(4, 4, 3, 3, 3\)"):
        open_model(path, device="cpu")


def test_primus_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Primus transformer of nnU-Net \(nnUNet_Primus_M_Trainer\)"):
        describe(write_checkpoint(tmp_path / "a.pth", trainer_name="nnUNet_Primus_M_Trainer"))


@pytest.mark.parametrize("name", ["architectures.unet.NotYetThere", "architectures.unknown.Network"])
def test_a_network_that_the_package_lacks(tmp_path: Path, name: str) -> None:
    architecture = CONFIGURATION["architecture"] | {"network_class_name": f"dynamic_network_architectures.{name}"}
    path = write_checkpoint(tmp_path / "a.pth", plans_with(architecture=architecture))
    with pytest.raises(InputError, match="another version of dynamic_network_architectures may have it"):
        open_model(path, device="cpu")


class Missing:
    """Makes Python believe that the package is not installed."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name.partition(".")[0] == "dynamic_network_architectures":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.partition(".")[0])


def test_without_the_package_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_checkpoint(tmp_path / "a.pth", weights=plain().state_dict())
    for name in [x for x in sys.modules if x.startswith("dynamic_network_architectures")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    assert describe(path) is not None  # what it is can be said all the same
    with pytest.raises(InputError, match="not installed: pip install --no-deps dynamic_network_architectures"):
        open_model(path, device="cpu")


def test_it_segments(tmp_path: Path) -> None:
    """Random weights: that all parts fit together, and that nothing outside of the head is claimed."""
    path = write_checkpoint(tmp_path / "a.pth", weights=plain().state_dict())
    image = np.zeros((1, 20, 24, 22), np.float32)
    image[0, 3:17, 4:20, 5:18] = np.random.default_rng(0).uniform(1, 2, (14, 16, 13))
    case = Case(image, ["T1"], np.diag([5.0, 1.5, 1.0, 1.0]))
    labels = open_model(path, device="cpu").segment(case)
    assert not labels[image[0] == 0].any()
    assert np.unique(labels).size > 1


def test_what_may_be_imported() -> None:
    assert nnunet_network._IMPORTED.fullmatch("torch.nn.LeakyReLU")
    assert nnunet_network._IMPORTED.fullmatch("dynamic_network_architectures.building_blocks.residual.BottleneckD")
    names: list[Any] = ["torch.nn", "torchx.nn.a.B", "torch.nn.a\n", "dynamic_network_architectures", "a.torch.nn.B"]
    assert not any(nnunet_network._IMPORTED.fullmatch(x) for x in names)
