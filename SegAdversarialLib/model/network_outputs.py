"""What a network hands out, as logits: which of several outputs counts, and probabilities turned back into logits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from SegAdversarialLib.arguments import shown
from SegAdversarialLib.errors import InputError

OutputKey = int | str
"""Which of several outputs: its place (negative: from the end), or its name where they have names."""

_STEEPEST = {torch.float16: 2.0**12}
"""Largest slope of a logit, where the network's gradients could not hold a larger one."""


@dataclass(frozen=True)
class NetworkOutputs:
    """How the logits (B, N, *window) are found in what a network hands out.

    Attributes:
        count: N, the number of classes.
        head: what these are; it says how probabilities are turned back.
        key: which of several outputs counts; None: the only one of full size.
        are_probabilities: the network ends in a sigmoid or a softmax.
    """

    count: int
    head: Literal["softmax", "sigmoid"]
    key: OutputKey | None = None
    are_probabilities: bool = False

    def logits(self, given: Any, batch: torch.Tensor) -> torch.Tensor:
        """Logits (B, N, *window), from what the network gave for `batch` (B, C, *window).

        Raises:
            InputError: there is no such output, it has another shape, or several might be meant.
        """
        chosen = self.chosen(given, batch)
        return logits_of(chosen, self.head) if self.are_probabilities else chosen

    def chosen(self, given: Any, batch: torch.Tensor) -> torch.Tensor:
        """The output (B, N, *window) that counts, as the network gave it; raises as `logits` does."""
        parts = parts_of(given, batch)
        if self.key is not None:
            given = named(parts or {0: given}, self.key)
        elif parts:
            full = self.full_size(given, batch)
            if len(full) > 1:
                raise InputError(several(full))
            given = next(iter({**full, **parts}.values()))
        if not isinstance(given, torch.Tensor):
            what = "nothing" if given is None else shown(given)
            raise InputError(f"The network gives {what}, without a tensor in it; it must give logits as a tensor.")
        expected = (len(batch), self.count, *batch.shape[2:])
        if tuple(given.shape) != expected:
            is_map = not given.is_floating_point() or tuple(given.shape) == (len(batch), *batch.shape[2:])
            raise InputError(
                f"The network gives a tensor of shape {tuple(given.shape)} for an input of {tuple(batch.shape)}; with "
                f"{self.count} classes it must be {expected}: "
                + (
                    "it seems to give a label map, so save it without its argmax or threshold."
                    if is_map and self.count > 1
                    else "check the classes, the window and the size multiple."
                )
            )
        if given.is_complex():
            raise InputError("The network gives complex numbers; it must give real logits.")
        # a tensor class of the network's own must not spread into images and losses
        return given if type(given) is torch.Tensor else given.as_subclass(torch.Tensor)

    def full_size(self, given: Any, batch: torch.Tensor) -> dict[OutputKey, torch.Tensor]:
        """Those of several outputs that have the shape (B, N, *window), by name or place; none where there is but one."""
        expected = (len(batch), self.count, *batch.shape[2:])
        parts = parts_of(given, batch)
        return {key: x for key, x in parts.items() if isinstance(x, torch.Tensor) and tuple(x.shape) == expected}


def parts_of(given: Any, batch: torch.Tensor) -> dict[OutputKey, Any]:
    """The outputs by name or place, where a network gives several: a mapping, a sequence, or (as MONAI's DynUNet with deep
    supervision in training) a tensor (B, outputs, N, *window)."""
    if isinstance(given, Mapping):
        return {str(key): value for key, value in given.items()}
    if isinstance(given, (tuple, list)):
        return dict(enumerate(given))
    if isinstance(given, torch.Tensor) and given.ndim == batch.ndim + 1 and given.shape[3:] == batch.shape[2:]:
        return dict(enumerate(given.unbind(1)))
    return {}


def several(full: Mapping[OutputKey, Any]) -> str:
    """The sentence for several outputs of which nobody has said which one counts."""
    shown = [f'"{key}"' if isinstance(key, str) else str(key) for key in full]
    return (
        f"The network gives {len(shown)} outputs of full size ({', '.join(shown)}), and it is not known which of them is its "
        f'answer; say so, with --model-output, or "output": {shown[-1]} in its settings if it is the last.'
    )


def logits_of(probabilities: torch.Tensor, head: Literal["softmax", "sigmoid"]) -> torch.Tensor:
    """Logits whose sigmoid, or softmax, are the probabilities (B, N, *window); finite, with a gradient where these have one.

    Sigmoid: log(p / (1 - p)). Softmax: log p, which differs from the network's own logits by a number that is the same for all
    classes. What single precision calls 0 or 1 is taken for the next number inside.
    """
    # beyond that, what comes from the loss would no longer be finite
    steepest = _STEEPEST.get(probabilities.dtype, 2.0**120)
    wide = probabilities.to(torch.promote_types(probabilities.dtype, torch.float32))
    logits: torch.Tensor = _Logits.apply(wide, head == "sigmoid", steepest)
    return logits


class _Logits(torch.autograd.Function):
    """log p, less log(1 - p) where `two_sided`.

    Autograd's own derivative of a clamped logarithm is 0 where the clamp holds, and infinite, times 0 from the sigmoid, where
    there is none; neither is what the network's logits have.
    """

    @staticmethod
    def forward(ctx: Any, p: torch.Tensor, two_sided: bool, steepest: float) -> torch.Tensor:
        ctx.save_for_backward(p)
        ctx.two_sided, ctx.steepest = two_sided, steepest
        least, gap = torch.finfo(p.dtype).tiny, torch.finfo(p.dtype).eps / 2
        inside = p.clamp(least, 1.0)
        logits = inside.log()
        if two_sided:
            logits -= inside.neg_().log1p_().clamp_min_(math.log(gap))
        return logits

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (p,) = ctx.saved_tensors
        (upstream,) = gradients
        slope = p * (1 - p) if ctx.two_sided else p.clone()
        # where the network is saturated it has no gradient itself; any moderate number will do
        slope.masked_fill_(slope <= 0, torch.finfo(p.dtype).eps / 2)
        return upstream * slope.reciprocal_().clamp_max_(ctx.steepest), None, None


def named(parts: Mapping[OutputKey, Any], key: OutputKey) -> Any:
    """One of a network's outputs; of a single one the place is 0, or -1.

    Raises:
        InputError: there is none of this name, or at this place.
    """
    names = list(parts)
    if key in parts:
        return parts[key]
    try:
        return parts[names[int(key)]]
    except (ValueError, IndexError):
        listed = f"{len(names)}: {', '.join(map(str, names))}"
        gives = listed if len(names) > 1 else "a single one; leave that out"
        raise InputError(f"The network has no output {key}; it gives {gives}.") from None
