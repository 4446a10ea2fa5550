"""What training makes small: losses of logits and of what each output should claim, from 0 to 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.structures.output_head import OutputHead

Loss = Literal["dice-ce", "dice", "ce", "focal"]


def loss_of(kind: Loss, head: OutputHead) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """A loss of logits (B, N, *axes) and targets (B, N, *axes) from 0 to 1, which may be soft; a scalar.

    Dice is MONAI's, of the structures (not of the background). Cross-entropy is over the classes for a softmax, and over each
    output by itself for a sigmoid, as MONAI's own sum of both is not. The focal loss is MONAI's, with gamma 2.
    """
    from monai.losses import DiceLoss, FocalLoss

    softmax = head.kind == "softmax"
    dice_loss, focal_loss = DiceLoss(), FocalLoss(use_softmax=softmax)
    structures = list(head.foreground)

    def dice(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        probabilities = logits.softmax(1) if softmax else logits.sigmoid()
        found: torch.Tensor = dice_loss(probabilities[:, structures], targets[:, structures])
        return found

    def cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        import torch.nn.functional as functional

        if softmax:
            return functional.cross_entropy(logits, targets)
        return functional.binary_cross_entropy_with_logits(logits, targets)

    def both(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return dice(logits, targets) + cross_entropy(logits, targets)

    def focal(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = focal_loss(logits, targets)
        return found

    return {"dice-ce": both, "dice": dice, "ce": cross_entropy, "focal": focal}[kind]
