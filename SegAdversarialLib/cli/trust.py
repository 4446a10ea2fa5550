"""`segadversarial trust`: which programs open without being asked about again."""

from __future__ import annotations

import argparse

from SegAdversarialLib.cli.console import Console
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats import trust as store
from SegAdversarialLib.formats.trust import Decision


def trust(options: argparse.Namespace, console: Console) -> None:
    """Remember, list or forget what is trusted."""
    {"add": _add, "list": _list, "forget": _forget}[options.action](options, console)


def _add(options: argparse.Namespace, console: Console) -> None:
    from SegAdversarialLib.formats.describing import resolve
    from SegAdversarialLib.formats.verdicts import verdict

    found = [(path, resolve(path, None, {})) for path in options.network]
    for path, network in found:
        if not network.programs:
            raise InputError(f"{path} is {network.content.what}: nothing in it could run, so that it opens without trust.")
    for _, network in found:
        for file in network.programs:
            scan = verdict(file)
            _show(store.remember(file, store.digest(file), scan), "trusted from now on", console)


def _list(_: argparse.Namespace, console: Console) -> None:
    found = store.decisions()
    for decision in found:
        _show(decision, "trusted", console)
    if not found:
        console.say("Nothing is remembered as trusted.")


def _forget(options: argparse.Namespace, console: Console) -> None:
    if options.all == bool(options.which):
        raise InputError("Say what is to be forgotten: a file, a name, the beginning of a SHA-256; or --all.")
    for decision in store.forget(options.which or [x.sha256 for x in store.decisions()]):
        _show(decision, "forgotten", console)


def _show(decision: Decision, what: str, console: Console) -> None:
    console.emit({"event": "trust", "state": what, **decision.__dict__})
    about = f"{decision.name}, {decision.size:,} bytes, {decision.when}"
    console.say(f"{decision.sha256}  {what}: {about}; {decision.scan or 'not scanned'}")
