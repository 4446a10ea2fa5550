"""Train the network that comes with the library, on phantoms, and say honestly how good it is.

    python Testing/train_default_network.py --minutes 20      (two cores suffice)

Writes the weights and their description into Resources/. The seeds 0-9 are for tests and 10-39 for validation; training
sees neither.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from SegAdversarialLib.model.preprocessing import Preprocessing
from SegAdversarialLib.phantom import CHANNELS, LABEL_NAMES, REGIONS, subject
from SegAdversarialLib.volumes.case import Case

NAME = "brain-tumour-phantom"
TEST_SEEDS, VALIDATION_SEEDS, FIRST_TRAINING_SEED = range(10), range(10, 40), 1000
# mostly the usual size; some coarser and finer, so that the network does not hang on one voxel size
SHAPES = ((80, 80, 80), (48, 48, 48), (48, 48, 48), *((64, 64, 64),) * 9)
NETWORK: dict[str, Any] = {
    "spatial_dims": 3,
    "in_channels": len(CHANNELS),
    "out_channels": len(LABEL_NAMES),
    "channels": [32, 64, 96, 128],
    "strides": [2, 2, 2],
    "num_res_units": 0,
    "norm": "INSTANCE",
}
# not over the voxels above 0: a little noise on the air around the head would then change the whole image, and "random noise
# breaks the network" would say more about its preprocessing than about the network
PREPROCESSING = {"orientation": "LPS", "normalization": {"kind": "zscore", "mask": "above_mean", "background": 0.0}}
LABELS = tuple(LABEL_NAMES)


@dataclass(frozen=True)
class Sample:
    """What the network sees of one phantom: (4, K, J, I) float32, and class numbers (K, J, I)."""

    image: torch.Tensor
    classes: torch.Tensor


def generated(seed: int, shape: tuple[int, int, int], folder: Path) -> Path:
    """The file that holds one phantom; made if it is not there yet."""
    path = folder / f"{seed}-{'x'.join(map(str, shape))}.npz"
    if not path.exists():
        case = subject(seed, shape)
        assert case.label is not None
        unfinished = path.with_suffix(".part.npz")
        np.savez(unfinished, image=case.image.astype(np.int16), label=case.label, affine=case.affine)
        unfinished.rename(path)
    return path


def load(path: Path) -> Sample:
    """Read one phantom and preprocess it as the library does."""
    with np.load(path) as stored:
        case = Case(stored["image"], CHANNELS, stored["affine"], stored["label"])
    on_grid = Preprocessing.model_validate(PREPROCESSING).on_grid(case.shape, case.affine)
    image = torch.stack([on_grid.forward_channel(torch.from_numpy(x), n) for n, x in enumerate(case.image)])
    assert case.label is not None
    return Sample(image, torch.from_numpy(np.searchsorted(LABELS, case.label)))


def samples(seeds: Iterable[int], shapes: tuple[tuple[int, int, int], ...], folder: Path, workers: int) -> list[Sample]:
    """Phantoms of these seeds, the shapes taken in turn; made in parallel and kept in `folder`."""
    seeds = list(seeds)
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [shapes[n % len(shapes)] for n in range(len(seeds))]
    with ProcessPoolExecutor(workers) as pool:
        return [load(path) for path in pool.map(partial(generated, folder=folder), seeds, wanted)]


def augmented(sample: Sample, generator: torch.Generator) -> Sample:
    """Mirror left and right, and change each channel's brightness, contrast and noise a little inside the brain."""
    image, classes = sample.image, sample.classes
    if torch.rand((), generator=generator) < 0.5:
        image, classes = image.flip(-1), classes.flip(-1)
    brain = (image != 0).any(0, keepdim=True)
    gain = 1 + 0.1 * torch.randn((len(image), 1, 1, 1), generator=generator)
    offset = 0.1 * torch.randn((len(image), 1, 1, 1), generator=generator)
    sigma = 0.1 * torch.rand((), generator=generator)
    noise = sigma * torch.randn(image.shape, generator=generator)
    return Sample((image * gain + offset + noise) * brain, classes)


def batches(cohort: list[Sample], size: int, generator: torch.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """One epoch: images (N, 4, K, J, I) and classes (N, 1, K, J, I), each batch of one shape, in random order."""
    by_shape: dict[torch.Size, list[Sample]] = {}
    for n in torch.randperm(len(cohort), generator=generator).tolist():
        by_shape.setdefault(cohort[n].classes.shape, []).append(cohort[n])
    groups = [group[n : n + size] for group in by_shape.values() for n in range(0, len(group), size)]
    for n in torch.randperm(len(groups), generator=generator).tolist():
        chosen = [augmented(sample, generator) for sample in groups[n]]
        yield torch.stack([x.image for x in chosen]), torch.stack([x.classes for x in chosen])[:, None]


def train(network: torch.nn.Module, cohort: list[Sample], validation: list[Sample], arguments: argparse.Namespace) -> None:
    """AdamW with a one-cycle learning rate that follows the epochs or the clock, whichever is given."""
    from monai.losses import DiceCELoss

    generator = torch.Generator().manual_seed(arguments.seed)
    loss_function = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.0, weight_decay=1e-3)
    start, epoch, finished = time.monotonic(), 0, 0.0
    while finished < 1:
        losses = []
        network.train()
        for number, (images, classes) in enumerate(batches(cohort, arguments.batch, generator)):
            finished = _finished(arguments, start, epoch + number * arguments.batch / len(cohort))
            for group in optimizer.param_groups:
                group["lr"] = _learning_rate(arguments.learning_rate, finished)
            optimizer.zero_grad()
            loss = loss_function(network(images), classes)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            losses.append(loss.item())
            if finished >= 1:
                break
        epoch += 1
        finished = max(finished, _finished(arguments, start, epoch))
        scores = dice(network, validation[:6])
        elapsed = (time.monotonic() - start) / 60
        print(f"epoch {epoch}, {elapsed:.1f} min: loss {np.mean(losses):.3f}; validation {in_words(scores)}", flush=True)


def _finished(arguments: argparse.Namespace, start: float, epochs: float) -> float:
    if arguments.minutes is not None:
        return (time.monotonic() - start) / (60 * arguments.minutes)
    return epochs / arguments.epochs


def _learning_rate(highest: float, finished: float) -> float:
    """Rises over the first tenth, then falls to nothing along a cosine."""
    if finished < 0.1:
        return highest * (0.1 + 9 * finished)
    return highest * 0.5 * (1 + math.cos(math.pi * min((finished - 0.1) / 0.9, 1)))


@torch.no_grad()
def dice(network: torch.nn.Module, cohort: list[Sample]) -> dict[str, list[float]]:
    """Dice of each BraTS region for each subject."""
    network.eval()
    scores: dict[str, list[float]] = {region: [] for region in REGIONS}
    for sample in cohort:
        answer = torch.tensor(LABELS)[network(sample.image[None])[0].argmax(0)]
        truth = torch.tensor(LABELS)[sample.classes]
        for region, labels in REGIONS.items():
            found, real = torch.isin(answer, torch.tensor(labels)), torch.isin(truth, torch.tensor(labels))
            scores[region].append(float(2 * (found & real).sum() / (found.sum() + real.sum())))
    return scores


def in_words(scores: dict[str, list[float]]) -> str:
    """Mean and smallest Dice of each region."""
    return ", ".join(f"{region} {np.mean(x):.3f} (lowest {min(x):.3f})" for region, x in scores.items())


def save(network: torch.nn.Module, output: Path) -> None:
    """Write the weights, and beside them what the library needs to know to use them."""
    from safetensors.torch import save_file

    output.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().float().contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, output / f"{NAME}.safetensors")
    sidecar = {
        "format": "monai",
        "network": {"name": "UNet", "arguments": NETWORK},
        "weights": f"{NAME}.safetensors",
        "channels": list(CHANNELS),
        "classes": [{"label": label, "name": name} for label, name in LABEL_NAMES.items()],
        "head": "softmax",
        "preprocessing": PREPROCESSING,
        "window": None,
        "size_multiple": math.prod(NETWORK["strides"]),
        "description": "A small 3D U-Net, trained on the synthetic brain-tumour cohort of SegAdversarialLib.phantom only. "
        "It is there to be attacked, and must not be used on patients.",
    }
    (output / f"{NAME}.json").write_text(json.dumps(sidecar, indent=2) + "\n", encoding="utf-8")


def parsed(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parents[1] / "Resources", help="folder for the two files"
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=int, default=8)
    length.add_argument("--minutes", type=float, help="train for this long instead of a number of epochs")
    parser.add_argument("--start", type=Path, help="weights to go on from, instead of random ones")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--subjects", type=int, default=300, help="phantoms to train on")
    parser.add_argument("--batch", type=int, default=1, help="phantoms in a batch")
    parser.add_argument("--learning-rate", type=float, default=3e-3, help="the highest of the cycle")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir()) / NAME, help="folder that keeps the phantoms"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    from monai.networks.nets import UNet
    from safetensors.torch import load_file

    arguments = parsed(argv)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    network = UNet(**NETWORK)
    if arguments.start:
        network.load_state_dict(load_file(arguments.start))
    print(f"{sum(x.numel() for x in network.parameters())} parameters")
    make = partial(samples, folder=arguments.cache, workers=arguments.threads)
    validation = make(VALIDATION_SEEDS, SHAPES[-1:])
    cohort = make(range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + arguments.subjects), SHAPES)
    train(network, cohort, validation, arguments)
    save(network, arguments.output)
    print(f"validation, seeds 10-39: {in_words(dice(network, validation))}")
    print(f"unseen, seeds 0-9: {in_words(dice(network, make(TEST_SEEDS, SHAPES[-1:])))}")


if __name__ == "__main__":
    main()
