"""The words of `audit` and `certify`. Nothing heavy is imported here."""

from __future__ import annotations

import argparse

from SegAdversarialLib.cli.shared_arguments import add_case, add_learning, add_model, add_output, add_overwrite, add_regions


def add_audit(parser: argparse.ArgumentParser) -> None:
    """What an audit is asked."""
    add_learning(parser)
    add_overwrite(parser)
    group = parser.add_argument_group("the audit")
    efforts = ("quick", "usual", "thorough")
    group.add_argument("--effort", choices=efforts, help="how thoroughly (default: usual)")
    group.add_argument(
        "--epsilon", type=float, action="append", metavar="NUMBER", help="size of the attacks, between 0 and 1 (repeatable)"
    )
    group.add_argument("--surrogate", metavar="FILE", help="a similar network, from which attacks are transferred")


def add_certify(parser: argparse.ArgumentParser) -> None:
    """What a certificate is asked."""
    add_case(parser)
    add_model(parser)
    group = parser.add_argument_group("the certificate", "What each number does is told in docs/certificate.md.")
    group.add_argument(
        "--sigma",
        default="0.05",
        metavar="SIGMA or NAME=SIGMA,...",
        help="standard deviation of the noise, of all channels or of each (default: %(default)s)",
    )
    group.add_argument(
        "--sigma-units",
        choices=("relative", "absolute"),
        default="relative",
        help="a fraction of each channel's largest absolute intensity, or scanner units (default: %(default)s)",
    )
    group.add_argument("--n", type=int, default=200, help="noisy copies that vote (default: %(default)s)")
    group.add_argument("--n0", type=int, default=20, help="noisy copies that guess what is tested (default: %(default)s)")
    group.add_argument(
        "--alpha", type=float, default=0.001, help="chance that anything is wrongly said to be certain (default: %(default)s)"
    )
    group.add_argument(
        "--tau", type=float, default=0.75, help="share of all noisy copies that must agree (default: %(default)s)"
    )
    group.add_argument("--seed", type=int, default=0, help="of the noise (default: %(default)s)")
    add_regions(group)
    add_output(group)
    group.add_argument("--scene", metavar="FILE.mrb", help="also write a scene for 3D Slicer")
