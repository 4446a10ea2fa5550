#!/usr/bin/env bash
# MONAI 1.6.1 Spacing keeps the first voxel's centre where it was, but not for a tilted scan whose affine went through a NIfTI file: in
# single precision such axes are no longer orthogonal to the 1e-8 that it asks for, and it lets the image's middle stay instead.
# The same scan in double precision and through a file comes out on two grids. (torch 2.13.0, nibabel 5.4.2, CPU.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check monai==1.6.1 nibabel==5.4.2 torch==2.13.0
cd "$folder" && venv/bin/python - <<'PYTHON'
import nibabel
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImage, Spacing

angle = np.deg2rad(12)
turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
affine = np.eye(4)
affine[:3, :3] = turn * [4.3, 5.1, 4.5]
voxels = np.random.default_rng(0).normal(100, 20, (24, 22, 20)).astype(np.float32)
nibabel.save(nibabel.Nifti1Image(voxels, affine), "scan.nii.gz")

images = {
    "double precision": MetaTensor(torch.from_numpy(voxels)[None], affine=torch.from_numpy(affine)),
    "through a file": LoadImage(image_only=True, ensure_channel_first=True)("scan.nii.gz"),
}
moved = {}
for name, image in images.items():
    resampled = Spacing(pixdim=(4.4, 4.1, 4.6))(image)
    shift = np.linalg.solve(turn * [4.4, 4.1, 4.6], np.asarray(resampled.affine)[:3, 3])
    moved[name] = float(np.abs(shift).max())
    print(f"{name}: shape {tuple(resampled.shape[1:])}, first voxel moved by {moved[name]:.3f} of the new voxels at most")
assert moved["double precision"] < 1e-3 and moved["through a file"] > 0.1, "both come out on one grid now"
print("as found")
PYTHON
