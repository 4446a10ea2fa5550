"""Train the generator of adversarial images that comes with the library, against the built-in network, on phantoms.

    python Testing/train_default_generator.py --folder /somewhere      (one core suffices)

Writes it into Resources/generators/. The seeds 0-9 are for tests; training sees 100-131. A run that was stopped goes on where
its folder says that it stood.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from SegAdversarialLib import open_model, phantom
from SegAdversarialLib.training.generator import train_generator

NAME = "brain-tumour-phantom"
SEEDS = range(100, 132)
# twice the voxel size of the phantoms as they are used: the fields are smooth, and this costs an eighth
GENERATOR = {"spacing": (5.4, 5.4, 5.4), "features": (24, 48), "xi": (0.0, 3.0)}
TRAINING = {
    # five times the paper's learning rate, for a run of some minutes
    **{"learning_rate": 5e-4, "draws": 2},
    # with the paper's 0.1 and 0.01 the deformation spreads over the whole head, and perceptibility passes 0.1 at xi = 2
    **{"deformation_weight": 6.0, "intensity_weight": 1.0},
    # the oedema is far larger than the other structures, and would count alone
    "balanced": True,
}
# first it learns to attack, then to do so unseen; with the strong critic from the start it attacks less and shows more
STAGES = ({"critic_steps": 1, "critic_weight": 5.0}, {"critic_steps": 5, "critic_weight": 25.0})


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    output = Path(__file__).parents[1] / "Resources" / "generators" / f"{NAME}.safetensors"
    parser.add_argument("--output", type=Path, default=output, help="file for the generator")
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / f"{NAME}-generator", help="folder for checkpoints"
    )
    parser.add_argument("--epochs", type=int, default=8, help="of each of the two stages")
    parser.add_argument("--size", type=int, default=48, help="voxels of a phantom along each axis")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    model = open_model(f"builtin:{NAME}", device="cpu")
    cases = list(phantom.cohort(SEEDS, (options.size,) * 3))
    trained = None
    for number, stage in enumerate(STAGES, 1):
        trained = train_generator(
            model,
            cases,
            {**TRAINING, **stage, "epochs": options.epochs},
            generator=GENERATOR,
            start=trained,
            folder=options.folder / f"stage-{number}",
            progress=lambda fraction, text, number=number: print(f"{number}: {100 * fraction:5.1f} %  {text}", flush=True),
        )
    trained.write(options.output)
    print({name: round(value, 3) for name, value in trained.learned["by_epoch"][-1].items()})


if __name__ == "__main__":
    main()
