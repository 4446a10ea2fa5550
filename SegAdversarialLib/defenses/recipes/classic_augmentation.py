"""Training with copies that are flipped, rotated, cropped or of other brightness and contrast."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator

from SegAdversarialLib.attacks.settings import parameter, some_or_none
from SegAdversarialLib.defenses.recipes.copies import Augmentation, Copier
from SegAdversarialLib.defenses.recipes.steps import numbers_of

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.training.recipe import Batch, Learner

Kind = Literal["flip", "rotate", "crop", "jitter"]

_BOTH, _IMAGE = ("image", "targets"), ("image",)


class ClassicAugmentation(Augmentation):
    """Classic augmentation: copies that are flipped, rotated, cropped or jittered, all the chosen ones at once.

    What Pervin et al. compare their attacks with (Table 3), carried out by MONAI. Targets move along, by nearest neighbour.
    flip: along one of the axes; rotate: about the first of the network's axes (in a volume's axial slices), the border
    repeated; crop: a part that is brought back to the full size; jitter, for the paper's colour jitter: each channel's
    brightness, by a share of its standard deviation, and contrast (gamma). The paper gives no sizes; the defaults are ours.
    """

    name: ClassVar[str] = "classic-augmentation"
    title: ClassVar[str] = "Classic augmentation"
    source: ClassVar[str] = "Pervin et al. 2023, Table 3"

    kinds: tuple[Kind, ...] = parameter(
        ("flip", "rotate", "crop", "jitter"), "What is done to a copy: some of flip, rotate, crop, jitter.", min_length=1
    )
    rotation: float = parameter(15.0, "Largest rotation.", "degrees", ge=0, le=180)
    crop: float = parameter(0.8, "What a crop keeps of each axis at least.", "share of the axis", gt=0, le=1)
    brightness: float = parameter(0.2, "Largest shift of a channel's intensities.", "standard deviations", ge=0, le=10)
    contrast: float = parameter(1.5, "Largest gamma; the least is 1 divided by it.", "exponent", ge=1, le=10)

    @field_validator("kinds", mode="before")
    @classmethod
    def _one_kind_is_a_list(cls, kinds: Any) -> Any:
        return some_or_none("kind", kinds)

    def copier(self, learner: Learner) -> Copier:
        """Changes the batches."""
        return partial(self._changed, learner)

    def _changed(self, learner: Learner, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        import torch
        from monai.transforms import Compose

        images, targets = [], []
        for number, (image, wanted) in enumerate(zip(batch.images, batch.targets)):
            draw = numbers_of(learner, batch, f"classic {number}")
            steps = [
                step for kind in dict.fromkeys(self.kinds) for step in self._steps(kind, image, draw.uniform(self.crop, 1))
            ]
            chain = Compose(steps).set_random_state(seed=int(draw.integers(2**32)))
            done = chain({"image": image.detach().float(), "targets": wanted})
            images.append(_plain(done["image"], image))
            targets.append(_plain(done["targets"], wanted))
        return torch.stack(images), torch.stack(targets)

    def _steps(self, kind: Kind, image: torch.Tensor, kept: float) -> list[Any]:
        """The transforms of MONAI that a kind is."""
        from monai import transforms

        shape = tuple(image.shape[1:])
        linear = "trilinear" if len(shape) == 3 else "bilinear"
        if kind == "flip":
            return [transforms.RandAxisFlipd(_BOTH, prob=1)]
        if kind == "rotate":
            most = self.rotation / 180 * 3.141592653589793
            return [transforms.RandRotated(_BOTH, range_x=most, prob=1, mode=("bilinear", "nearest"), padding_mode="border")]
        if kind == "crop":
            part = [max(1, round(kept * size)) for size in shape]
            return [
                transforms.RandSpatialCropd(_BOTH, roi_size=part, random_size=False),
                transforms.Resized(_BOTH, spatial_size=shape, mode=(linear, "nearest-exact")),
            ]
        return [
            transforms.RandStdShiftIntensityd(_IMAGE, factors=self.brightness, prob=1, channel_wise=True),
            transforms.RandAdjustContrastd(_IMAGE, gamma=(1 / self.contrast, self.contrast), prob=1),
        ]


def _plain(changed: Any, like: torch.Tensor) -> torch.Tensor:
    """What MONAI gave, as a tensor without its record."""
    plain: torch.Tensor = changed.as_tensor() if hasattr(changed, "as_tensor") else changed
    return plain.to(like)
