"""One of nnU-Net's own commands, in nnU-Net's own environment, for small networks on a CPU:

    PYTHON nnunet_command.py nnUNetv2_train 601 3d_fullres 0 -device cpu

Training takes as many epochs and iterations as EPOCHS and ITERATIONS in the environment say, not 1000 of 250. torchvision,
which nnU-Net imports and does not need, cannot be imported beside a torch without CUDA unless two operators are declared.
"""

import functools
import os
import sys
from importlib.metadata import entry_points

import torch

_operators = torch.library.Library("torchvision", "DEF")


def _declare_operators() -> None:
    for name in ("nms", "qnms"):
        _operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def _shorten_training() -> None:
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    made = nnUNetTrainer.__init__

    @functools.wraps(made)
    def make(self, *arguments, **named):
        made(self, *arguments, **named)
        self.num_epochs = int(os.environ["EPOCHS"])
        self.num_iterations_per_epoch = int(os.environ["ITERATIONS"])
        self.num_val_iterations_per_epoch = 5

    nnUNetTrainer.__init__ = make


if __name__ == "__main__":
    _declare_operators()
    command = sys.argv.pop(1)
    if command == "nnUNetv2_train":
        _shorten_training()
    (entry,) = entry_points(group="console_scripts", name=command)
    sys.argv[0] = command
    sys.exit(entry.load()())
