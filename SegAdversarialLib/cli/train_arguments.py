"""The words of `segadversarial train`. Nothing heavy is imported here."""

from __future__ import annotations

import argparse
from typing import Any

from SegAdversarialLib.cli.parser import whole_numbers


def add_train(parser: argparse.ArgumentParser) -> None:
    """What a training is asked."""
    cases = parser.add_argument_group("the cases")
    cases.add_argument(
        "--cohort",
        required=True,
        metavar="NAME",
        help='cases with references: "brats:FOLDER", "folders:FOLDER", "csv:FILE", "phantom:0-31@48" and so on (see "cohort")',
    )
    cases.add_argument("--validation", metavar="NAME", help="a cohort to validate on (default: a share of the other)")
    cases.add_argument(
        "--validation-share",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="share of the patients that is validated on, and not learned from (default: %(default)s; 0: nobody)",
    )
    cases.add_argument("--n4", action="store_true", help="correct the bias field of MR images first (N4), also later")
    _add_network(parser.add_argument_group("the network"))
    _add_training(parser.add_argument_group("the training"))


def _add_network(network: Any) -> None:
    network.add_argument(
        "--network", default="UNet", metavar="NAME", help="LiuUNet3D, ..., or one of MONAI (default: %(default)s)"
    )
    network.add_argument("--channels", metavar="A,B,C", help="channels that it takes (default: those of the first case)")
    network.add_argument(
        "--classes", metavar="0=NAME,1=NAME", help="label and name of each output (default: as in the first case)"
    )
    network.add_argument(
        "--stands-for", action="append", metavar="CLASS=A,B", help="reference labels that a class covers (repeatable)"
    )
    network.add_argument("--head", choices=("softmax", "sigmoid"), help="exclusive classes, or overlapping regions")
    network.add_argument(
        "--preprocessing", metavar="JSON", help='such as {"size": [128, 128, 128], "normalization": {"kind": "zscore"}}'
    )
    network.add_argument(
        "--window", type=whole_numbers, metavar="N,N,N", help="voxels that it is to see at once, once it is trained"
    )


def _add_training(training: Any) -> None:
    training.add_argument("--recipe", default="standard", metavar="NAME", help='see "recipes" (default: %(default)s)')
    training.add_argument("--epochs", type=int, help="how often each case is seen (default: 100)")
    training.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SETTING=VALUE",
        help='a setting of the training ("batch_size=2"), of the network ("network.dropout=0.1") or of the recipe '
        '("recipe.epsilon=0.05"; repeatable)',
    )
    training.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default: %(default)s)")
    training.add_argument("--output", required=True, help="folder for the network; a training that lies there is gone on with")
