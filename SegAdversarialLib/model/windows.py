"""In what pieces a network sees a volume, and what else few networks need said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from SegAdversarialLib.arguments import nearest
from SegAdversarialLib.errors import InputError, first_problem
from SegAdversarialLib.structures.output_head import Painting

Blending = Literal["gaussian", "voxel-gaussian", "constant"]
"""How much the voxels of a window count where several overlap: less towards its faces (as MONAI has it, or as nnU-Net has it,
centred on a voxel), or all the same."""

Places = Literal["dense", "even"]
"""How windows are laid: at equal steps, the last one shifted back to the edge (MONAI), or spread evenly (nnU-Net)."""


@dataclass(frozen=True)
class Windows:
    """In what pieces a network sees a volume, as `SegmentationModel.from_network` takes them.

    Where it is mirrored (letters of the preprocessing's axes), each window is also shown flipped along these axes, in all
    combinations, and the answer is the mean of their logits.
    """

    size: tuple[int, ...] | None = None
    overlap: float = 0.5
    size_multiple: int = 1
    batch: int | None = None
    blending: Blending = "gaussian"
    places: Places = "dense"
    mirror: str = ""

    def settings(self) -> dict[str, Any]:
        """What makes them, but for the batch, by the names of `SegmentationModel.from_network` and `ModelSettings`."""
        return {
            "window": self.size,
            "overlap": self.overlap,
            "blending": self.blending,
            "window_places": self.places,
            "mirror": self.mirror,
            "size_multiple": self.size_multiple,
        }

    def check(self, axes: str) -> None:
        """Refuse windows that are none for a network with these axes.

        Raises:
            InputError: sizes, overlap, multiple or mirrored axes are wrong.
        """
        dimensions = len(axes)
        if self.size is not None and (len(self.size) != dimensions or min(self.size) < 1):
            raise InputError(f"The window must be {dimensions} sizes of at least 1 voxel; it is {list(self.size)}.")
        if not 0 <= self.overlap < 1:
            raise InputError(f"The overlap must be at least 0 and below 1; it is {self.overlap}.")
        if self.size_multiple < 1:
            raise InputError(f"The size multiple must be at least 1; it is {self.size_multiple}.")
        if len(set(self.mirror)) != len(self.mirror) or set(self.mirror) - set(axes):
            raise InputError(
                f'mirror must name axes of the network, each once, by letters of "{axes}", or be empty; it is "{self.mirror}".'
            )


class Rarely(BaseModel):
    """What few networks need said, by the names of their settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    threshold: float = Field(0.5, gt=0, lt=1, description="Of a sigmoid head: probability above which a region is present.")
    blending: Blending = "gaussian"
    window_places: Places = "dense"
    mirror: str = Field("", description="Axes of the preprocessing along which windows are shown flipped, too.")
    painting: Painting = "largest first"
    outputs: Literal["logits", "probabilities"] | None = None
    output: int | str | None = None
    in_place: bool | None = None
    allow_random: bool = False

    @classmethod
    def of(cls, given: dict[str, object], other: tuple[str, ...]) -> Rarely:
        """What is said; `other` are the names of what is said elsewhere.

        Raises:
            InputError: there is no such setting, or it is wrong.
        """
        unknown = next((name for name in given if name not in cls.model_fields), None)
        if unknown is not None:
            raise InputError(
                f"SegmentationModel.from_network has no argument {unknown}{nearest(unknown, [*other, *cls.model_fields])}"
            )
        try:
            return cls.model_validate(given)
        except ValueError as error:
            raise InputError(f"SegmentationModel.from_network: {first_problem(error)}") from None  # type: ignore[arg-type]
