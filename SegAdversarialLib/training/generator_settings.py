"""What a generator of adversarial images is made of and how it is trained, as validated settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from SegAdversarialLib.errors import InputError, first_problem
from SegAdversarialLib.networks.generator import GeneratorSettings
from SegAdversarialLib.volumes.case import Case

if TYPE_CHECKING:
    from SegAdversarialLib.model.segmentation_model import SegmentationModel


class GeneratorTraining(BaseModel):
    """How a generator is trained; the defaults are the paper's where it gives a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: int = Field(50, ge=1, le=100000, description="How often each case is seen.")
    draws: int = Field(1, ge=1, le=1000, description="Steps on a case each time that it is seen.")
    patch: tuple[int, int, int] | None = Field(
        None, description="Slices, rows and columns of a random part of the case that a step sees; none: the whole case."
    )
    balanced: bool = Field(False, description="Each structure counts the same in the cross-entropy, however small it is.")
    compare: Literal["warped", "original"] = Field(
        "warped",
        description="What the answer should differ from: the clean answer moved with the image, so that a network that "
        "follows the anatomy is not called wrong, or the clean answer where it was (the paper).",
    )
    deformation_weight: float = Field(0.1, ge=0, description="lambda_D.")
    intensity_weight: float = Field(0.01, ge=0, description="lambda_V.")
    critic_weight: float = Field(1.0, ge=0, description="Of the critic's term.")
    kl_weight: float = Field(0.01, ge=0, description="Of the latents' divergence from the normal distribution.")
    learning_rate: float = Field(1e-4, gt=0, description="RMSProp's, for generator and critic.")
    decay: float = Field(0.9, ge=0, lt=1, description="RMSProp's.")
    rms_epsilon: float = Field(1e-10, gt=0, description="RMSProp's.")
    critic_steps: int = Field(5, ge=0, le=100, description="Steps of the critic before each of the generator (WGAN's).")
    critic_features: tuple[int, ...] = Field((16, 32, 64), min_length=1, description="Of the critic's levels.")
    clip: float = Field(0.01, gt=0, description="Largest weight of the critic (WGAN's).")
    seed: int = Field(0, ge=0, le=2**63 - 1, description="Of every random draw.")
    tensorboard: bool = Field(True, description="Also keep the table as TensorBoard events, where tensorboardX is installed.")

    def learned(self) -> dict[str, Any]:
        """What the outcome depends on, as plain JSON data."""
        return self.model_dump(mode="json", exclude={"tensorboard"})

    @model_validator(mode="after")
    def _makes_sense(self) -> GeneratorTraining:
        if any(x < 4 or x % 4 for x in self.critic_features):
            raise ValueError(f"the critic's features must be multiples of 4; they are {list(self.critic_features)}")
        if self.patch is not None and min(self.patch) < 1:
            raise ValueError(f"a patch must have at least 1 voxel along each axis; it has {list(self.patch)}")
        return self


def made_for(
    model: SegmentationModel, case: Case, given: GeneratorSettings | Mapping[str, Any] | None = None
) -> GeneratorSettings:
    """What a generator for a network and cases like this one is made of, where nothing else is said.

    Raises:
        InputError: a setting is wrong.
    """
    if isinstance(given, GeneratorSettings):
        return given
    wanted = dict(given or {})
    orientation = str(wanted.get("orientation", GeneratorSettings.model_fields["orientation"].default))
    turn = checked(GeneratorSettings, {"channels": model.channels, "spacing": (1, 1, 1), "orientation": orientation})
    steps = turn.preprocessing().on_grid(case.shape, case.affine)
    k, j, i = (case.spacing[2 - axis] for axis in steps.turn.permutation)
    axes = model.preprocessing.axes if model.preprocessing.dimensions == 2 else "kji"
    return checked(GeneratorSettings, {"channels": model.channels, "spacing": (i, j, k), "axes": axes, **wanted})


def checked(cls: Any, given: Mapping[str, Any]) -> Any:
    try:
        return cls(**dict(given))
    except ValidationError as error:
        raise InputError(f"Training a generator: {first_problem(error)}") from None
