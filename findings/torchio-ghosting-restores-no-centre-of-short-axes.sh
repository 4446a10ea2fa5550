#!/usr/bin/env bash
# torchio 1.2.1, torch 2.13.0: Ghosting that is told to restore a small share of k-space's centre restores less than one that is told nothing:
# `restore` 0.02 puts nothing back along an axis of fewer than 75 samples, `restore=None` one plane. Where the number of ghosts
# divides half the axis, the mean of the image goes with the centre: an image of ones has a mean of 0.2 at 64 samples and of 1.0 at 76;
# with 5 ghosts instead of 4 it keeps it at 64 samples, too.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.2.6 SimpleITK==2.5.2 torchio==1.2.1
cd "$folder" && venv/bin/python - <<'PYTHON'
import torch
import torchio

means = {}
for samples, ghosts, restore in ((64, 4, 0.02), (64, 4, None), (64, 5, 0.02), (76, 2, 0.02)):
    image = torchio.ScalarImage(tensor=torch.ones(1, samples, 8, 8))
    ghosted = torchio.Ghosting(num_ghosts=ghosts, axis=0, intensity=0.8, restore=restore)(image).data
    means[samples, ghosts, restore] = float(ghosted.mean())
    print(f"{samples} samples, {ghosts} ghosts, restore {restore}: mean {means[samples, ghosts, restore]:.3f}")
assert means[64, 4, 0.02] < 0.25, "the centre of a short axis is put back now"
assert min(means[64, 4, None], means[64, 5, 0.02], means[76, 2, 0.02]) > 0.99, "the others keep the mean no more"
print("as found: with 64 samples the centre is not put back")
PYTHON
