"""How a network is trained, as validated settings; the same on the command line, in a job and in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from SegAdversarialLib.arguments import InOneSentence

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)


class _Called(InOneSentence, ModelMetaclass):
    """What is given wrongly is said in one sentence."""


class TrainingSettings(BaseModel, metaclass=_Called):
    """How a network is trained; what is learned, and how a step is made, the recipe says."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    title: ClassVar[str] = "Training"

    epochs: int = Field(100, ge=1, le=100000, description="How often each case is seen.")
    batch_size: int = Field(1, ge=1, le=4096, description="Patches, or slices, in one step, on each device.")
    patch: tuple[int, ...] | None = Field(
        None,
        description="Voxels of the random parts of cases that the network learns from, along its own axes, around labelled "
        "voxels; none: whole cases, or slices.",
        json_schema_extra={"texts": {"none": "whole"}},
    )
    patches: int | None = Field(
        None,
        ge=1,
        le=100000,
        description="Parts of each case in an epoch; none: one patch, the whole case, or all slices of a 2D network.",
    )
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adam", description="What moves the weights.")
    learning_rate: float = Field(1e-3, gt=0, le=1e6, description="The optimiser's; of a schedule the highest.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Of sgd.")
    weight_decay: float = Field(0.0, ge=0, description="The optimiser's.")
    schedule: Literal["constant", "cosine", "polynomial", "one-cycle"] = Field(
        "constant",
        description="The learning rate from the first step to the last: as it is; down to 0 along a cosine; down to 0 as "
        "(1 - t)^0.9; or up over the first tenth, then down along a cosine.",
    )
    clip_gradient: float | None = Field(
        None,
        gt=0,
        description="Largest norm of the weights' gradient; none: as it comes.",
        json_schema_extra={"texts": {"none": "never"}},
    )
    loss: Literal["dice-ce", "dice", "ce", "focal"] = Field(
        "dice-ce",
        description="Soft Dice of the structures and cross-entropy of all voxels (their sum), one of them, or focal.",
    )
    network_loss_weight: float = Field(
        0.1,
        ge=0,
        description="Of what the network itself adds to the loss, such as a variational branch's term (SegResNetVAE).",
    )
    augmentation: Literal["none", "axial", "mirror", "classic"] = Field(
        "none",
        description="axial: quarter turns, flips and transposes in the axial plane; mirror: flips along every axis; classic: "
        "flips, turns up to 15 degrees, zoom, brightness, contrast and noise.",
    )
    seed: int = Field(0, ge=0, le=2**63 - 1, description="Of every random draw, the first weights included.")
    patience: int | None = Field(
        None,
        ge=1,
        description="Epochs without a better validation Dice after which training ends; none: it goes on to its end.",
        json_schema_extra={"texts": {"none": "endless"}},
    )
    validate_every: int = Field(1, ge=1, description="Epochs from one validation to the next.")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field(
        "32-true", description="Single precision; or mixed with bfloat16 (also on CPUs that have it) or float16 (GPUs only)."
    )
    devices: int = Field(1, ge=1, le=1024, description="GPUs, or processes on a CPU, on this machine.")
    nodes: int = Field(1, ge=1, le=4096, description="Machines; more than one are started by `fabric run`.")
    cache: Literal["memory", "disk", "none"] = Field(
        "memory",
        description="Where preprocessed cases wait for the next epoch: in memory as far as it reaches, in the training's "
        "folder, or nowhere: they are read again.",
    )
    cache_gib: float = Field(
        8.0, ge=0, description="Memory for preprocessed cases, in GiB; the others are read again each time."
    )
    tensorboard: bool = Field(True, description="Also keep the table as TensorBoard events, where tensorboardX is installed.")

    @model_validator(mode="after")
    def _makes_sense(self) -> TrainingSettings:
        if self.patch is not None and (len(self.patch) not in (2, 3) or min(self.patch) < 1):
            raise ValueError(f"a patch must have two or three sizes of at least 1 voxel; it has {list(self.patch)}")
        return self

    def rate(self, finished: float) -> float:
        """The learning rate where `finished` of all steps, from 0 to below 1, are done."""
        import math

        if self.schedule == "cosine":
            return self.learning_rate * 0.5 * (1 + math.cos(math.pi * finished))
        if self.schedule == "polynomial":
            return self.learning_rate * (1 - finished) ** 0.9
        if self.schedule == "one-cycle":
            if finished < 0.1:
                return self.learning_rate * (0.1 + 9 * finished)
            return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (finished - 0.1) / 0.9))
        return self.learning_rate
