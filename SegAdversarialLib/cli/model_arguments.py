"""The words of the command that fetches networks. Nothing heavy is imported here."""

from __future__ import annotations

import argparse
from typing import Any

_FOLDER = "folder for fetched networks (default: the user's own, or SEGADVERSARIAL_MODELS)"


def add_models(parser: Any) -> None:
    """Networks that can be fetched by name, and those that were."""
    _add_folder(parser)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    about = "All that can be fetched: task, channels, classes, size, licences, version, checksum; with NAME, one of them."
    listing = actions.add_parser("list", help=about, description=about)
    listing.add_argument("name", nargs="?", metavar="NAME", help="the network to show")
    about = (
        "Download a network and check it; afterwards its name will do (--model NAME). What breaks off, or is stopped, is gone "
        "on with the next time."
    )
    get = actions.add_parser("get", help=about, description=about)
    get.add_argument("name", metavar="NAME", help="the network's name in the list")
    get.add_argument(
        "--from",
        dest="source",
        default="",
        metavar="URL|FILE",
        help="another address of the same archive, or the archive itself, carried here; the checksum must be right",
    )
    about = "All that was fetched: file, size, SHA-256; and what broke off."
    cached = actions.add_parser("cached", help=about, description=about)
    about = "Take fetched networks away, and what broke off of them."
    remove = actions.add_parser("remove", help=about, description=about)
    remove.add_argument("names", nargs="*", metavar="NAME", help="a network's name")
    remove.add_argument("--all", action="store_true", help="everything that was fetched")
    for action in (listing, get, cached, remove):
        _add_folder(action, default=argparse.SUPPRESS)


def _add_folder(parser: Any, default: Any = None) -> None:
    parser.add_argument("--folder", default=default, metavar="FOLDER", help=_FOLDER)
