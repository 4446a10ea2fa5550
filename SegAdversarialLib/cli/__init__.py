"""The command line: `segadversarial`, or `python -m SegAdversarialLib`."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0 done, 1 some jobs of a study failed, 2 something that the user gave is
    wrong, 130 stopped."""
    from SegAdversarialLib.cli.arguments import build_parser
    from SegAdversarialLib.cli.console import Console

    options = build_parser().parse_args(arguments)
    if options.command == "worker":
        from SegAdversarialLib.jobs.worker import serve

        serve()
    console = Console(events=getattr(options, "events", False))
    with console.guarded():
        from SegAdversarialLib.cli import commands

        commands.COMMANDS[options.command](options, console)
    return console.status
