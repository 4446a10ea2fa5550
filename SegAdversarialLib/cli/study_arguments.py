"""The words of `segadversarial study`. Nothing heavy is imported here."""

from __future__ import annotations

import argparse
from typing import Any

from SegAdversarialLib.cli.parser import count

_FILE = (
    'the study\'s YAML file, the folder in which it works, or "papers:NAME" for the study of a paper '
    "(cheng2020, liu2021, pervin2023, chen2019)"
)

_DOES = {
    "plan": "Look at a study without running it: cases, networks, attacks, number of jobs, and how long they will take.",
    "run": "Run a study; what is in its store already is not done again.",
    "resume": "Go on with a study that was begun.",
    "status": "How far a study is, also while it runs: what is done, what failed and why, who runs it.",
    "report": "Write the report of a study: one HTML file with tables and figures.",
    "export": "Write the results of a study as tables for other programs: CSV or Parquet.",
}


def add_study(parser: argparse.ArgumentParser) -> None:
    """The study's own commands."""
    parser.description = "Cohorts x networks x attacks x budgets, described in a YAML file (docs/studies.md)."
    commands = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, about in _DOES.items():
        command = commands.add_parser(name, help=about, description=about)
        command.add_argument("file", metavar="FILE", help=_FILE)
        command.add_argument("--output", metavar="FOLDER", help="where the study works (default: beside its file)")
        command.add_argument("--events", action="store_true", help="print events as JSON lines, for programs")
        _ADD.get(name, lambda _: None)(command)


def _add_paper(parser: Any) -> None:
    parser.add_argument(
        "--scale", choices=("ci", "phantom", "paper"), help="of a paper's study: a minute, fifteen minutes, or the paper's own"
    )
    parser.add_argument("--cohort", metavar="NAME", help='of a paper\'s study: another cohort, such as "brats:FOLDER"')


def _add_workers(parser: Any) -> None:
    parser.add_argument("--scheduler", metavar="ADDRESS", help="a running Dask scheduler, such as tcp://host:8786")
    parser.add_argument("--workers", type=int, metavar="N", help="workers on this machine (default: one for each GPU or core)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of each worker (default: the cores shared out)")
    parser.add_argument(
        "--trust", action="store_true", help="open the programs of which the study says that they are trusted (trust: true)"
    )


def _add_plan(parser: Any) -> None:
    _add_paper(parser)
    _add_workers(parser)
    parser.add_argument(
        "--first",
        type=count,
        default=0,
        metavar="N",
        help="run the first N jobs, different ones first, and tell from them how long all will take; their results are kept",
    )


def _add_run(parser: Any) -> None:
    _add_paper(parser)
    _add_resume(parser)


def _add_resume(parser: Any) -> None:
    _add_workers(parser)
    parser.add_argument("--retry", action="store_true", help="also try again what failed too often")
    parser.add_argument("--no-report", action="store_true", help="write no report at the end")


def _add_report(parser: Any) -> None:
    parser.add_argument("--scene", metavar="FILE.mrb", help="also write the tables as a scene for 3D Slicer")


def _add_export(parser: Any) -> None:
    parser.add_argument(
        "--format", choices=("csv", "parquet", "both"), default="csv", help="of the tables (default: %(default)s)"
    )
    parser.add_argument("--tables", metavar="FOLDER", help="where they go (default: the folder export of the study)")


_ADD = {"plan": _add_plan, "run": _add_run, "resume": _add_resume, "report": _add_report, "export": _add_export}
