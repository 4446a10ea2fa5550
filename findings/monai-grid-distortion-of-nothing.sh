#!/usr/bin/env bash
# MONAI 1.6.1 RandGridDistortion(distort_limit=(0, 0)), which distorts nothing, is not the identity: the last voxel of a cell and the first of
# the next one show the same place, and what lies between is stretched. Every "distorted" image and label map has these doubled planes,
# num_cells - 1 of them in each direction, however small the distortion. (torch 2.13.0, CPU.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check monai==1.6.1 torch==2.13.0
cd "$folder" && venv/bin/python - <<'PYTHON'
import numpy as np
import torch
from monai.transforms import RandGridDistortion

ramp = torch.arange(12.0).expand(1, 12, 12, 12).contiguous()
nothing = RandGridDistortion(num_cells=3, prob=1.0, distort_limit=(0.0, 0.0))
nothing.set_random_state(0)
line = np.asarray(nothing(ramp))[0, 6, 6]
print("before:", np.asarray(ramp)[0, 6, 6])
print("after: ", np.round(line, 2))
doubled = int((np.diff(line) < 1e-3).sum())
print(f"{doubled} planes are shown twice, the largest change is {float(np.abs(line - np.arange(12)).max()):.2f} voxels")
assert doubled >= 2 and np.abs(line - np.arange(12)).max() > 0.5, "no distortion is the identity now"
print("as found")
PYTHON
