"""What an attack's step costs beside the bare gradient, and beside a step of torchattacks' PGD.

The bare network's convolutions are computed as ours are; torchattacks has PyTorch's.

Each size is measured in a process of its own (this file with a task as JSON).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from measuring import in_own_process, interleaved, without_preprocessing

from SegAdversarialLib import Case, SegmentationModel, attacks, objectives, open_model, phantom
from SegAdversarialLib.attacks.engine.watch import Watch
from SegAdversarialLib.model.quick_convolutions import QuickConvolutions

STEP_LIMIT = 1.05


class UnitRange(torch.nn.Module):
    """The network for images in [0, 1], as torchattacks wants them."""

    def __init__(self, network: torch.nn.Module, low: torch.Tensor, span: torch.Tensor) -> None:
        super().__init__()
        self.network, self.low, self.span = network, low, span

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (1, N, K, J, I) of images (1, C, K, J, I)."""
        return self.network(images * self.span + self.low)


def plain_zscore(image: torch.Tensor) -> torch.Tensor:
    """The built-in network's normalisation in plain autograd."""
    inside = (image > image.mean((1, 2, 3), keepdim=True)).to(image.dtype)
    count = inside.sum((1, 2, 3), keepdim=True)
    centred = (image - (image * inside).sum((1, 2, 3), keepdim=True) / count) * inside
    return centred / ((centred**2).sum((1, 2, 3), keepdim=True) / count).sqrt()


def step_costs(size: int, rounds: int) -> list[dict[str, Any]]:
    """Seconds of one i-FGSM step with its trace row, and of others, as ratios to the bare forward and input gradient.

    "plain" is measured on images that the network takes as they are; that is what the promise is about. "preprocessed" has the
    built-in network's normalisation in front, against the same in plain autograd. Both have the same soft Dice loss;
    torchattacks has the cross-entropy that is built into it, and keeps no trace.
    """
    rows: list[dict[str, Any]] = in_own_process(__file__, {"size": size, "rounds": rounds})["rows"]
    return rows


def _measure(size: int, rounds: int, threads: int) -> list[dict[str, Any]]:
    """One size, in this process."""
    torch.set_num_threads(threads)
    case = phantom.subject(seed=0, shape=(size,) * 3)
    model = open_model("builtin:brain-tumour-phantom", device="cpu")
    plain, scores = without_preprocessing(model, case)
    rows = [
        compared("plain", plain, scores, lambda image: image, rounds, with_peer=True),
        compared("preprocessed", model, case, plain_zscore, rounds, with_peer=False),
    ]
    return [{"size": size, **row} for row in rows]


def compared(
    what: str,
    model: SegmentationModel,
    case: Case,
    prepare: Callable[[torch.Tensor], torch.Tensor],
    rounds: int,
    with_peer: bool,
) -> dict[str, Any]:
    """Seconds and ratios of a step, each in its quickest round: whatever else the machine does only adds time."""
    attack = attacks.IFGSM()
    with attack.running(model, case) as run:
        loss = objectives.SoftDice(case.label).bind(model.head, "cpu", torch.float32)
        watch = Watch(
            run, partial(attack._score, run), best_step=attack.keeps_best, enough=None, steps=attack.steps, snapshot_every=0
        )
        watch.begin(0)

        def bare() -> None:
            leaf = run.original.detach().requires_grad_(True)
            with QuickConvolutions():
                logits = model.network(prepare(leaf)[None])[0]
            torch.autograd.grad(loss(logits), leaf)

        def step() -> None:
            value, gradient, logits = run.differentiate(run.original, loss)
            watch.see(1, value, logits, run.original)
            attack._step(run, run.original, gradient, 0.005)

        functions: list[Callable[[], object]] = [step, bare]
        if with_peer and (peer := torchattacks_step(model, run.original, case)) is not None:
            functions.append(peer)
        quickest = [float(x) for x in interleaved(functions, rounds).min(0)]
    found: dict[str, Any] = {"input": what, "step s": quickest[0], "bare gradient s": quickest[1]}
    found["step / bare"] = quickest[0] / quickest[1]
    if len(quickest) > 2:
        found["torchattacks PGD step s"] = quickest[2]
        found["torchattacks / bare"] = quickest[2] / quickest[1]
        found["step / torchattacks"] = quickest[0] / quickest[2]
    return found


def torchattacks_step(model: SegmentationModel, image: torch.Tensor, case: Case) -> Callable[[], object] | None:
    """One step of torchattacks' PGD on the same network, frozen for it, too; None if it is not installed."""
    try:
        import torchattacks
    except ImportError:
        return None
    low = image.amin((1, 2, 3), keepdim=True)
    span = image.amax((1, 2, 3), keepdim=True) - low
    labels = model.head.masks(torch.from_numpy(case.label)).int().argmax(0)[None]
    images = ((image - low) / span)[None].clamp(0, 1)
    peer = torchattacks.PGD(UnitRange(model.network, low, span).eval(), eps=0.05, alpha=0.005, steps=1, random_start=False)
    return lambda: peer(images, labels)


if __name__ == "__main__":
    print(json.dumps({"rows": _measure(**json.loads(sys.argv[1]))}))
