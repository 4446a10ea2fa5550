#!/usr/bin/env bash
# MONAI 1.6.1 RandRicianNoise takes what it gets for magnitudes: the square root of a sum of squares is never negative. A CT in Hounsfield
# units, or an image after a z-score, has its negative values mirrored by noise of any strength, none included: air becomes as dense
# as bone, without a word. (torch 2.13.0, CPU.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check monai==1.6.1 torch==2.13.0
cd "$folder" && venv/bin/python - <<'PYTHON'
import numpy as np
import torch
from monai.transforms import RandRicianNoise

ct = torch.full((1, 8, 8, 8), -1000.0)  # air
ct[:, 2:6, 2:6, 2:6] = 40.0  # liver
noise = RandRicianNoise(prob=1.0, std=0.001, sample_std=False)
noise.set_random_state(0)
found = noise(ct)
print(f"air: {float(ct[0, 0, 0, 0]):.0f} HU before, {float(found[0, 0, 0, 0]):.2f} after noise of 0.001 HU")
print(f"liver: {float(ct[0, 3, 3, 3]):.0f} before, {float(found[0, 3, 3, 3]):.2f} after")
assert np.isclose(float(found[0, 0, 0, 0]), 1000, atol=0.1), "negative values stay negative now"
print("as found: what was -1000 is 1000")
PYTHON
