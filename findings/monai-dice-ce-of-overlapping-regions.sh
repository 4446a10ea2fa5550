#!/usr/bin/env bash
# MONAI 1.6.1 DiceCELoss(sigmoid=True) on several outputs (overlapping regions such as WT, TC, ET): its Dice part takes sigmoids, its
# cross-entropy part a softmax over the regions, which a voxel of all three regions can never satisfy. (torch 2.13.0, CPU.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check monai==1.6.1 torch==2.13.0
cd "$folder" && venv/bin/python - <<'PYTHON'
import torch
import torch.nn.functional as functional
from monai.losses import DiceCELoss, DiceLoss

truth = torch.ones(1, 3, 4, 4, 4)  # every voxel belongs to all three regions
perfect = torch.full_like(truth, 20.0)  # and the network says so, for certain
loss = float(DiceCELoss(sigmoid=True)(perfect, truth))
dice = float(DiceLoss(sigmoid=True)(perfect, truth))
each = float(functional.binary_cross_entropy_with_logits(perfect, truth))
softmax = float(functional.cross_entropy(perfect, truth))
print(f"a perfect answer: Dice part {dice:.4f}, binary cross-entropy {each:.4f}, softmax cross-entropy {softmax:.4f}, DiceCELoss {loss:.4f}")
assert dice < 1e-4 and each < 1e-4
assert abs(loss - softmax) < 1e-3 and loss > 3, "DiceCELoss takes the regions by themselves now"
print("as found")
PYTHON
