"""The words of `segadversarial audit`, beside those of cases and networks. Nothing heavy is imported here."""

from __future__ import annotations

import argparse


def add_audit(parser: argparse.ArgumentParser) -> None:
    """What only an audit is asked."""
    group = parser.add_argument_group("the audit")
    group.add_argument(
        "--effort", choices=("quick", "usual", "thorough"), default="usual", help="how thoroughly (default: %(default)s)"
    )
    group.add_argument(
        "--epsilon",
        type=float,
        action="append",
        metavar="NUMBER",
        help="size of the attacks, between 0 and 1 (repeatable)",
    )
    group.add_argument("--surrogate", metavar="FILE", help="a similar network, from which attacks are transferred")
