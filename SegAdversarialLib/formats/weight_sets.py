"""What a file of weights holds, for people who look for the architecture that it belongs to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from SegAdversarialLib.formats.checkpoints import sets_of_tensors
from SegAdversarialLib.formats.tensor_shapes import Shape, shapes

_OF_DETECTION = re.compile(r"(?:^|[._])(?:rpn|rpn_head|roi_heads?|box_predictor|bbox\w*|box_head|anchor\w*)\.")
"""Parts of networks that find boxes, as torchvision, Detectron2, MMDetection, DETR and MONAI call them."""


@dataclass(frozen=True)
class WeightSet:
    """Tensors by name that could be a network's.

    Attributes:
        where: the entry of the checkpoint that holds them; "": the file itself.
        tensors: how many.
        parameters: numbers in them.
        dimensions: of images, 2 or 3, by its first convolution.
        channels: that its first convolution takes.
        outputs: of its last convolution.
    """

    where: str
    tensors: int
    parameters: int
    dimensions: int
    channels: int
    outputs: int

    def __str__(self) -> str:
        place = f"in {self.where}: " if self.where else ""
        takes = f"the first convolution takes {self.channels} channel{'s' if self.channels > 1 else ''} ({self.dimensions}D)"
        return f"{place}{self.tensors} tensors, {self.parameters:,} numbers; {takes}, the last one gives {self.outputs}"


def weight_sets(path: Path) -> tuple[list[WeightSet], str]:
    """All sets of weights with convolutions in a file, of which nothing runs; and a sentence where they look like another kind
    of network's than one that segments.

    Raises:
        InputError: it holds more than weights, or is damaged.
    """
    known = _sets(path)
    found = [x for place, tensors in known if (x := _set(place, tensors)) is not None]
    detecting = next((name for _, tensors in known for name in tensors if _OF_DETECTION.search(name)), None)
    if detecting is not None:
        return found, (
            f"These look like the weights of a network that finds boxes ({detecting}); one that gives each voxel or pixel a "
            "class would be right."
        )
    none = "" if found else "No tensor in it is a convolution's, as networks that segment images have them."
    return found, none


def _sets(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """The tensors in a file by name, and where they are: their shapes alone where the file says these without torch."""
    if (told := shapes(path)) is not None:
        return list(sets_of_tensors(told, Shape))
    import torch

    from SegAdversarialLib.formats.weights_file import checkpoint

    return list(sets_of_tensors(checkpoint(path), torch.Tensor))


def _set(place: str, tensors: dict[str, Any]) -> WeightSet | None:
    """What is to be said of tensors by name; None: there is no convolution among them."""
    convolutions = [name for name, x in tensors.items() if x.ndim in (4, 5) and name.endswith("weight")]
    if not convolutions:
        return None
    first, last = convolutions[0], convolutions[-1]
    # of a transposed convolution the outputs do not come first in the weight, but its bias tells them
    outputs = len(tensors.get(last.removesuffix("weight") + "bias", tensors[last]))
    numbers = sum(x.numel() for x in tensors.values())
    return WeightSet(place, len(tensors), numbers, tensors[first].ndim - 2, tensors[first].shape[1], outputs)
