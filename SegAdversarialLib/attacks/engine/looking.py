"""What a network says of images that other attacks have made, written into a trace of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from SegAdversarialLib.attacks.attack import Found
from SegAdversarialLib.attacks.engine.dice import DiceMeter
from SegAdversarialLib.attacks.engine.moving import MovedMasks
from SegAdversarialLib.attacks.engine.run import AttackRun
from SegAdversarialLib.metrics.overlap import mean_dice


@dataclass(frozen=True, eq=False)
class Seen:
    """An image (C, K, J, I) as it would be handed out, the logits for it, the Dice of each output that counts, and the
    reference (N, K, J, I) bool where it lies in this image."""

    image: torch.Tensor
    logits: torch.Tensor
    dice: dict[int, float]
    targets: torch.Tensor

    def mean(self, outputs: Sequence[int]) -> float:
        """Mean Dice over some outputs."""
        return mean_dice(self.dice[n] for n in outputs)


class Look:
    """Asks the network about images, some of which were moved; Dice is against the reference moved with them.

    Args:
        run: the attack at work.
        against: what Dice is against, the reference or the network's own clean answer.
        counted: the positions of the outputs that count.
    """

    def __init__(self, run: AttackRun, against: str, counted: Sequence[int]) -> None:
        self._run, self._counted = run, counted
        affine, dtype = run.case.affine, run.original.dtype
        wanted = run.clean_masks if against == "prediction" else run.label_masks
        self._wanted = MovedMasks(wanted, affine, dtype)
        apart = against == "prediction" and run.case.label is not None
        self._traced = MovedMasks(run.label_masks, affine, dtype) if apart else self._wanted

    def __call__(self, found: Found) -> Seen:
        """What an attack has found."""
        run = self._run
        field = None if found.perturbation is None else found.perturbation.displacement
        displacement = None if field is None else torch.from_numpy(field).to(run.original)
        image = run.finish(found.image.to(run.original))
        logits = run.ask(image)
        dice = DiceMeter(self._wanted.hard(displacement), self._counted)(run.head.predicted(logits))
        return Seen(image, logits, dice, self._traced.hard(displacement))
