"""The torch network that nnU-Net's plans describe, and its folds' weights, for which nobody has to be trusted.

The package that nnU-Net builds its networks with is needed, nnU-Net itself is not.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.errors import InputError, detail_of
from SegAdversarialLib.formats.places import Place
from SegAdversarialLib.formats.unopened import NotInstalled, NotSupported

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.formats.settings import NetworkSettings

PACKAGE = "dynamic_network_architectures"
_INSTALL = f"pip install --no-deps {PACKAGE}"
"""Without what it depends on: only transformers of other networks need those."""

_IMPORTED = re.compile(rf"(?:torch\.nn|{PACKAGE}\.(?:architectures|building_blocks))(?:\.[a-zA-Z]\w*)+")
"""What plans may name to be imported: classes of torch's layers and of that package."""

_OWN_TRAINER = re.compile(
    r"nnUNetTrainer(?:_?(?:\d+epochs?|\d+ep|NoMirroring|onlyMirror01|DA5|DAOrd0|ord0|Segord0|DASegOrd0|NoDA|noDummy2DDA|warmup|"
    r"CosAnneal|Adan|Adan1en[13]|Adan3en4|Adam|Adam1en3|Adam3en4|VanillaAdam|VanillaAdam1en3|VanillaAdam3en4|DiceLoss|CELoss|"
    r"DiceCELoss_noSmooth|Topk10Loss|Topk10LossLS01|DiceTopK10Loss|NoDeepSupervision|probabilisticOversampling|033|010|"
    r"Benchmark_5epochs|noDataLoading|BN))*"
)
"""nnU-Net's own trainers (2.8) whose network the plans describe, or which only put batch norms into it (BN)."""

_FIRST_PLANS = {
    "PlainConvUNet": (f"{PACKAGE}.architectures.unet.PlainConvUNet", "n_conv_per_stage"),
    "ResidualEncoderUNet": (f"{PACKAGE}.architectures.unet.ResidualEncoderUNet", "n_blocks_per_stage"),
}
"""The networks that plans before nnU-Net 2.3 know: their class, and what it calls the number of convolutions of a stage."""


@dataclass(frozen=True)
class Architecture:
    """A network of nnU-Net without its weights.

    Attributes:
        name: its class, dotted.
        arguments: what the class is made with, but for inputs and outputs.
        imported: the arguments that name classes.
        channels: how many it takes.
        outputs: how many it gives.
        trainer: the class that trained it.
        warnings: what is to be said of the trainer.
    """

    name: str
    arguments: dict[str, Any]
    imported: tuple[str, ...]
    channels: int
    outputs: int
    trainer: str
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, planned: dict[str, Any], trainer: str, channels: int, outputs: int, place: Path) -> Architecture:
        """The network that an entry of the plans describes.

        Args:
            planned: the configuration's entry.
            trainer: the class that trained it.
            channels: how many it takes.
            outputs: how many it gives.
            place: what messages call it.

        Raises:
            InputError: the plans do not describe it, or name something other than a network to be imported.
        """
        try:
            name, arguments, imported = _described(planned)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"The plans of {place} do not describe a network ({error!r}); give the plans.json that nnU-Net wrote."
            ) from error
        if "primus" in f"{trainer} {name}".lower():
            raise NotSupported(
                f"{place} is a Primus transformer of nnU-Net ({trainer}), whose size its files do not say; nnU-Net's U-Nets "
                "open."
            )
        if re.search(r"BN(?=_|$|[A-Z])", trainer):
            arguments |= {"norm_op": _of_dimensions("batchnorm.BatchNorm", planned)}
            arguments |= {"norm_op_kwargs": {"eps": 1e-5, "affine": True}}
            imported = (*imported, "norm_op")
        _check_imported(f"The plans of {place} name", name, arguments, imported)
        warnings: tuple[str, ...] = ()
        if not _OWN_TRAINER.fullmatch(trainer):
            warnings = (
                f"Its trainer {trainer} is none of nnU-Net's own; the weights fit the network in its plans, but what else "
                "that trainer may have changed (activations, preprocessing) is not known here.",
            )
        return cls(name, arguments, imported, channels, outputs, trainer, warnings)

    def settings(self, copies: int) -> NetworkSettings:
        """The same in the words of our settings, for so many folds."""
        from SegAdversarialLib.formats.settings import NetworkSettings

        given = {"input_channels": self.channels, "num_classes": self.outputs, "deep_supervision": False}
        arguments = {**self.arguments, **given}
        return NetworkSettings(name=self.name, arguments=arguments, imported=self.imported, copies=copies)

    def network(self) -> torch.nn.Module:
        """The network with random weights; raises as `made_of` does."""
        settings = self.settings(1)
        return made_of(settings.name, settings.arguments, settings.imported)


def made_of(name: str, arguments: Mapping[str, Any], imported: Collection[str]) -> torch.nn.Module:
    """A network of nnU-Net's package with random weights.

    Args:
        name: its class, dotted.
        arguments: what it is made with.
        imported: the arguments that name classes.

    Raises:
        InputError: the package is not installed or has no such network, its arguments do not fit, or something else than a
            layer of torch or a network is named.
    """
    _check_imported("The network's settings name", name, arguments, imported)
    made = _class(name)
    try:
        network: torch.nn.Module = made(**{key: _class(x) if key in imported else x for key, x in arguments.items()})
    except InputError:
        raise
    except Exception as error:  # anything, depending on the architecture
        raise InputError(
            f"The network in nnU-Net's plans ({name}) cannot be made ({detail_of(error)}); another version of {PACKAGE} may "
            "have other arguments."
        ) from error
    return network


def load(architecture: Architecture, checkpoints: Sequence[Place]) -> torch.nn.Module:
    """The network with the weights of a fold, or the mean of the logits of several.

    Raises:
        InputError: the package that it needs is not installed, or weights are damaged or another network's.
    """
    folds = [_fold(architecture, x) for x in checkpoints]
    if len(folds) == 1:
        return folds[0]
    from SegAdversarialLib.model.averaging import MeanLogits

    return MeanLogits(folds)


def _fold(architecture: Architecture, place: Place) -> torch.nn.Module:
    """The network with the weights in a checkpoint."""
    from SegAdversarialLib.formats.checkpoints import check_shapes, weights_for
    from SegAdversarialLib.formats.weights_file import checkpoint

    network, path = architecture.network(), place.path
    with place.on_disk() as file:
        found = checkpoint(file, path)
    expected = network.state_dict()
    trained_by = f"; its trainer {architecture.trainer} may build another network than its plans say"
    try:
        weights = weights_for(found["network_weights"], expected, None, str(path), architecture.name.rpartition(".")[2])
    except InputError as error:
        raise InputError(str(error).rstrip(".") + (trained_by if architecture.warnings else "") + ".") from None
    check_shapes(weights, expected, f"The weights in {path} do not belong to the network in its plans", trained_by)
    network.load_state_dict(weights.tensors)
    return network


def _check_imported(who: str, name: str, arguments: Mapping[str, Any], imported: Collection[str]) -> None:
    """Refuse to import what is neither a layer of torch nor a network of the package; `who` begins the sentence."""
    for what in (name, *(arguments[x] for x in imported if arguments.get(x) is not None)):
        if not (isinstance(what, str) and _IMPORTED.fullmatch(what)):
            raise InputError(
                f"{who} {what} to be imported, which could run programs; layers of torch and networks of {PACKAGE} would be "
                "right."
            )


def _described(planned: dict[str, Any]) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    """The network's class, what it is made with, and which of these name classes."""
    if "architecture" in planned:
        said = planned["architecture"]
        return str(said["network_class_name"]), dict(said["arch_kwargs"]), tuple(said["_kw_requires_import"])
    name, convolutions = _FIRST_PLANS[planned["UNet_class_name"]]
    stages = len(planned["n_conv_per_stage_encoder"])
    first, most = int(planned["UNet_base_num_features"]), int(planned["unet_max_num_features"])
    arguments = {
        "n_stages": stages,
        "features_per_stage": [min(first * 2**n, most) for n in range(stages)],
        "conv_op": _of_dimensions("conv.Conv", planned),
        "kernel_sizes": planned["conv_kernel_sizes"],
        "strides": planned["pool_op_kernel_sizes"],
        convolutions: planned["n_conv_per_stage_encoder"],
        "n_conv_per_stage_decoder": planned["n_conv_per_stage_decoder"],
        "conv_bias": True,
        "norm_op": _of_dimensions("instancenorm.InstanceNorm", planned),
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    return name, arguments, ("conv_op", "norm_op", "nonlin")


def _of_dimensions(kind: str, planned: dict[str, Any]) -> str:
    """The dotted name of torch's layer for the network's dimensions."""
    return f"torch.nn.modules.{kind}{len(planned['patch_size'])}d"


def _class(dotted: str | None) -> Any:
    """The class of a name that has been checked.

    Raises:
        InputError: its package is not installed, or has no such class.
    """
    import torch

    if dotted is None:
        return None
    room, _, name = dotted.rpartition(".")
    try:
        found = getattr(importlib.import_module(room), name)
    except ImportError as error:
        if error.name == PACKAGE:
            raise NotInstalled(
                f"Networks of nnU-Net need the package {PACKAGE}, which is not installed: {_INSTALL}."
            ) from error
        raise InputError(
            f"{dotted} cannot be imported ({detail_of(error)}); another version of {PACKAGE} may have it: {_INSTALL}."
        ) from error
    except AttributeError as error:
        raise InputError(f"{room} has no {name}; another version of {PACKAGE} may have it: {_INSTALL}.") from error
    if not (isinstance(found, type) and issubclass(found, torch.nn.Module)):
        raise InputError(f"{dotted} in nnU-Net's plans is no network or layer; a class of one would be right.")
    return found
