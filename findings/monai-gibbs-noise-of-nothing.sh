#!/usr/bin/env bash
# MONAI 1.6.1 GibbsNoise(alpha=0) is said to be the identity. It is for a square slice; of a volume it takes the corners of k-space, which lie
# further from its middle than the radius that a slice's corners have: a ball of 1,000 with a sharp edge changes by 121 there, and white
# noise loses 3.7 % of its energy. A weak artefact of a volume is no weaker than that. (torch 2.13.0, CPU.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check monai==1.6.1 torch==2.13.0
cd "$folder" && venv/bin/python - <<'PYTHON'
import numpy as np
import torch
from monai.transforms import GibbsNoise

nothing = GibbsNoise(alpha=0.0)
changes = {}
for shape in ((64, 64), (64, 64, 64)):
    distance = np.linalg.norm(np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")), axis=0)
    ball = torch.from_numpy(np.where(distance < 0.6, 1000, 0).astype(np.float32))[None]
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32))
    changes[len(shape)] = float((nothing(ball) - ball).abs().max())
    lost = 1 - float(nothing(noise).square().sum() / noise.square().sum())
    print(f"{len(shape)}D: the ball's values change by up to {changes[len(shape)]:.3f}, noise loses {100 * lost:.1f} % of its energy")
assert changes[2] < 0.01 and changes[3] > 50, "alpha 0 is the identity of both now"
print("as found: the identity of a slice, and a low-pass filter of a volume")
PYTHON
