#!/usr/bin/env bash
# torch 2.13.0 on an x86 CPU: a 3D convolution of ONE float32 image is handed to oneDNN only where channels x depth x height are above
# 20480, or the kernel is longer than three voxels along height and width. The width does not count: a volume turned on its side may be
# computed by other code. At or below, with the usual kernels, torch's own code runs (slow_conv3d), several times slower where there is
# much to compute; two images at once, or the same image in oneDNN's memory layout (to_mkldnn), go to oneDNN. So two images can take less
# time than one. Windows of 64^3 with 4 channels are below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.3.5
cd "$folder" && venv/bin/python - 2>&1 <<'PYTHON' | sed '/^USDT/d'
import time
import warnings

warnings.simplefilter("ignore")
import torch
from torch.autograd.profiler import profile
from torch.nn.functional import conv3d

torch.set_num_threads(1)


def by(image, weight):
    with profile(use_kineto=False) as seen:
        conv3d(image, weight, padding=1)
    names = {x.key for x in seen.key_averages()}
    return "slow_conv3d" if "aten::slow_conv3d_forward" in names else "oneDNN" if "aten::mkldnn_convolution" in names else names


def seconds(image, weight):
    taken = []
    for _ in range(5):
        started = time.process_time()
        conv3d(image, weight, padding=1)
        taken.append(time.process_time() - started)
    return min(taken)


def told(text, found, expected):
    print(f"{text}: {found}")
    assert found == expected, f"{text}: {found} instead of {expected}"


for shape, expected in {
    (1, 5, 64, 64, 9): "slow_conv3d",  # 5 * 64 * 64 = 20480
    (1, 5, 64, 65, 9): "oneDNN",
    (1, 5, 9, 64, 64): "slow_conv3d",  # the same numbers of voxels as the next, turned
    (1, 5, 64, 72, 8): "oneDNN",
    (1, 4, 64, 64, 64): "slow_conv3d",
    (2, 4, 64, 64, 64): "oneDNN",
    (1, 64, 16, 16, 16): "slow_conv3d",
    (1, 1, 128, 128, 512): "slow_conv3d",
}.items():
    told(str(shape), by(torch.randn(shape), torch.randn(8, shape[1], 3, 3, 3)), expected)
one, weight = torch.randn(1, 16, 32, 32, 32), torch.randn(16, 16, 3, 3, 3)
told("one image in oneDNN's layout", by(one.to_mkldnn(), weight), "oneDNN")
alone, two, other = (seconds(x, weight) for x in (one, torch.cat([one, one]), one.to_mkldnn()))
print(f"(1, 16, 32, 32, 32): one image {1e3 * alone:.1f} ms, two {1e3 * two:.1f} ms, one in oneDNN's layout {1e3 * other:.1f} ms")
difference = (conv3d(one, weight, padding=1) - conv3d(one.to_mkldnn(), weight, padding=1).to_dense()).abs().max()
assert difference < 1e-3, "the two do not agree"
assert alone > two and alone > 2 * other, "a single image is no longer slower than two"
print("as found")
PYTHON
