#!/usr/bin/env bash
# torch 2.13.0: a device that a traced program has taken from its input stands in it as literal text, and map_location, which moves the
# weights, leaves it: a program traced on one device makes its new tensors there, wherever it was loaded to. (Shown with the device "meta".)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.3.5
cd "$folder" && venv/bin/python - <<'PYTHON'
import io
import warnings

warnings.simplefilter("ignore")
import torch


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(3))

    def forward(self, x):
        return self.scale * x + torch.zeros(3, device=x.device)


stream = io.BytesIO()
torch.jit.save(torch.jit.trace(Network(), torch.ones(2, 3)), stream)
stream.seek(0)
loaded = torch.jit.load(stream, map_location="meta")
print("weights on", loaded.scale.device)
print(loaded.code)
assert loaded.scale.device.type == "meta", "map_location does not move weights now"
assert 'torch.device("cpu")' in loaded.code, "the device in the program is moved, or taken from the input, now"
print("as found: the weights are moved, the program still says cpu")
PYTHON
