#!/usr/bin/env bash
# torch 2.13.0: Generator.manual_seed takes 64 bits and gives all of them back, but on a CPU only the lower 32 count: seeds that differ by
# 2^32 draw the same numbers, so that seeds made by shifting (subject << 32 | draw) repeat one subject's noise for all. numpy 2.4.6's
# default_rng tells them apart.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 torch==2.13.0
cd "$folder" && venv/bin/python - <<'PYTHON'
import numpy
import torch

draws, kept, others = [], [], []
for subject in range(3):
    seed = subject << 32 | 7
    generator = torch.Generator().manual_seed(seed)
    kept.append(generator.initial_seed())
    draws.append(torch.randn(3, generator=generator).tolist())
    others.append(numpy.random.default_rng(seed).standard_normal(3).tolist())
    print(f"seed {kept[-1]}: torch {[round(x, 3) for x in draws[-1]]}, numpy {[round(x, 3) for x in others[-1]]}")
assert len(set(kept)) == 3, "the generator does not keep the whole seed any more"
assert draws[0] == draws[1] == draws[2], "the upper half of a seed counts now"
assert others[0] != others[1] != others[2] != others[0]
print("as found")
PYTHON
