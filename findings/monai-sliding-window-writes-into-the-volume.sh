#!/usr/bin/env bash
# MONAI 1.6.1 sliding_window_inference: with sw_batch_size=1 a network is handed views of the caller's own volume, so that one whose
# first layer works in place changes it, and the windows after it see what the ones before have written; with sw_batch_size=2 it is
# handed copies. (torch 2.13.0, CPU.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check monai==1.6.1 torch==2.13.0
cd "$folder" && venv/bin/python - <<'PYTHON'
import torch
from monai.inferers import sliding_window_inference


def network(windows):
    return windows.mul_(2) + 1  # in place, as ReLU(inplace=True) is


answers, volumes = {}, {}
for at_once in (1, 2):
    volume = torch.ones(1, 1, 8, 8, 8)
    answers[at_once] = sliding_window_inference(volume, (8, 8, 4), at_once, network, overlap=0.5)
    volumes[at_once] = volume
    print(f"{at_once} at a time: the volume of ones holds {volume.unique().tolist()} now, the answer {answers[at_once].unique().tolist()}; right: 3")
assert volumes[1].max() > 1, "with one window at a time the volume is left alone now"
assert volumes[2].max() == 1 and answers[2].unique().tolist() == [3.0], "two windows at a time are another matter now"
print("as found")
PYTHON
