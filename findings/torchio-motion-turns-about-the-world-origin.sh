#!/usr/bin/env bash
# torchio 1.2.1, torch 2.13.0: Motion (and RandomMotion) turns a volume about the world's origin, not about its middle: the same voxels
# with another affine origin get another artefact. A ball in the middle of its volume, turned by ten degrees, stays what it is where the
# origin is in its middle; where the first voxel is the origin, it moves away, and where the scanner's origin is far, it leaves the image.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.2.6 SimpleITK==2.5.2 torchio==1.2.1
cd "$folder" && venv/bin/python - <<'PYTHON'
import numpy as np
import torch
import torchio

z, y, x = np.indices((32, 32, 32)) - 15.5
ball = (z**2 + y**2 + x**2 < 100).astype(np.float32)
move = torchio.Motion(
    degrees=np.array([[0, 0, 10.0]]), translation=np.zeros((1, 3)), times=np.array([0.7]), image_interpolation="linear"
)
changes = {}
for name, origin in (("in the middle", -15.5), ("at the first voxel", 0.0), ("100 mm away", 100.0)):
    affine = np.eye(4)
    affine[:3, 3] = origin
    moved = move(torchio.ScalarImage(tensor=torch.from_numpy(ball[None]), affine=affine)).numpy()[0]
    changes[name] = float(np.abs(moved - ball).mean())
    print(f"origin {name}: mean absolute change {changes[name]:.4f}")
middle, first, far = changes.values()
assert first > 2 * middle and far > 2 * middle, "the origin does not matter now"
print("as found: the change depends on where the scanner counts from")
PYTHON
