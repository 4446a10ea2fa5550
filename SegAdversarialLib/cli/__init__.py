"""The command line: `segadversarial`, or `python -m SegAdversarialLib`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

COMMANDS = {
    **dict.fromkeys(("demo", "phantom", "segment", "attack", "evaluate", "cohort"), "commands"),
    **dict.fromkeys(("learn-universal", "train-generator", "run"), "commands"),
    **dict.fromkeys(("audit", "certify", "export", "info", "models", "recipes", "study", "trust"), ""),
    "attacks": "listing",
    "train": "train_command",
}
"""The file of each command; "": it is called like the command. What a command does not need is not imported."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0 done, 1 some jobs of a study failed, 2 something that the user gave is
    wrong, 130 stopped."""
    from SegAdversarialLib.cli.arguments import build_parser
    from SegAdversarialLib.cli.console import Console

    options = build_parser().parse_args(arguments)
    options.words = list(sys.argv[1:] if arguments is None else arguments)
    if options.command == "worker":
        from SegAdversarialLib.jobs.worker import serve

        serve()
    console = Console(events=getattr(options, "events", False))
    with console.guarded():
        file = importlib.import_module(f"SegAdversarialLib.cli.{COMMANDS[options.command] or options.command}")
        getattr(file, options.command.replace("-", "_"))(options, console)
    return console.status
