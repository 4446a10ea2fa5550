"""The words of the command that keeps which files are trusted."""

from __future__ import annotations

from typing import Any


def add_trust(parser: Any) -> None:
    """What is remembered of programs that the user trusts."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    about = "Trust these networks from now on: their bytes, wherever they lie; a file that changes asks again."
    add = actions.add_parser("add", help=about, description=about)
    add.add_argument("network", nargs="+", metavar="FILE", help="a network that is a program, as --model")
    about = "All that is trusted: SHA-256, name, size, when that was decided, and what the scanner said then."
    actions.add_parser("list", help=about, description=about)
    about = "Trust these no more."
    forget = actions.add_parser("forget", help=about, description=about)
    forget.add_argument("which", nargs="*", metavar="WHICH", help="a file, a name, or the beginning of a SHA-256")
    forget.add_argument("--all", action="store_true", help="everything that is remembered")
