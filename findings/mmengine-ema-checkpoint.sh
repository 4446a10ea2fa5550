#!/usr/bin/env bash
# mmengine 0.10.7, torch 2.13.0: a checkpoint of a training with EMAHook holds the averaged weights under "state_dict" and the trained
# ones under "ema_state_dict", the other way round than the names say: who opens "ema_state_dict" for the average gets the raw weights.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.2.6 mmengine==0.10.7 opencv-python-headless==4.12.0.88 packaging==25.0
cd "$folder" && venv/bin/python - <<'PYTHON'
import logging

import torch
from mmengine.hooks import EMAHook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import DataLoader

trained = []
MOMENTUM = 0.25


class Network(BaseModel):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, image, mode="tensor"):
        return {"loss": (self.weight * image).mean()} if mode == "loss" else self.weight * image

    def train_step(self, data, optim_wrapper):
        found = super().train_step({"image": data}, optim_wrapper)
        trained.append(float(self.weight.detach()))
        return found


runner = Runner(
    Network(),
    work_dir="work",
    train_dataloader=DataLoader(torch.ones(4, 1), batch_size=1),
    optim_wrapper={"optimizer": {"type": "SGD", "lr": 1.0}},
    train_cfg={"by_epoch": True, "max_epochs": 1},
    default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 1}},
    custom_hooks=[EMAHook(momentum=MOMENTUM)],
    log_level=logging.ERROR,
)
runner.train()
file = torch.load("work/epoch_1.pth", weights_only=False)
average = trained[0]
for value in trained[1:]:
    average += MOMENTUM * (value - average)
under = {key: {k: round(float(v), 4) for k, v in file[key].items()} for key in ("state_dict", "ema_state_dict")}
print("trained", trained, "average by hand", round(average, 4))
print(under)
state, ema = under["state_dict"]["weight"], under["ema_state_dict"]["module.weight"]
assert ema == trained[-1], "ema_state_dict does not hold the trained weights now"
assert state == round(average, 4), "state_dict does not hold the average now"
print("as found: state_dict holds the average, ema_state_dict what was trained")
PYTHON
