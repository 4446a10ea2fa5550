"""`segadversarial models`: networks that others trained, fetched by name."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from SegAdversarialLib.cli.console import Console
from SegAdversarialLib.cli.readable import columns
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats.fetching import store
from SegAdversarialLib.formats.fetching.catalogue import CATALOGUE, Entry, entry
from SegAdversarialLib.formats.fetching.getting import get
from SegAdversarialLib.formats.fetching.store import Stored

_MEGABYTE = 1_000_000
_LABEL = 12


def models(options: argparse.Namespace, console: Console) -> None:
    """List, fetch or remove networks."""
    actions = {None: _list, "list": _list, "get": _get, "cached": _cached, "remove": _remove}
    actions[options.action](options, console)


def _list(options: argparse.Namespace, console: Console) -> None:
    name = getattr(options, "name", None)
    folder, width = _folder(options), columns()
    there = {(x.name, x.version): x for x in store.stored(folder)}
    for which in [entry(name)] if name else CATALOGUE.values():
        found = there.get((which.name, which.version))
        state = _state(which, found)
        said = {key: x for key, x in asdict(which).items() if key != "address"}
        console.emit({"event": "model", **said, "url": which.url, "state": state})
        console.say("\n".join(_lines(which, state, width)) + "\n")
    if not name:
        console.say("\n".join(textwrap.wrap(_ENDING, width)))


_ENDING = (
    'Get one with "segadversarial models get NAME"; then its name will do: "segadversarial segment --model NAME". '
    "Their makers made them for research, not for diagnoses. A SHA-1 tells a damaged file, not one that somebody has forged "
    "with effort; the SHA-256 of what was downloaded is shown, and remembered, so that a later change is noticed."
)


def _get(options: argparse.Namespace, console: Console) -> None:
    which, folder = entry(options.name), _folder(options)
    console.say(f"{which.name} {which.version}: {which.licence}. Trained on {which.data}.")

    def progress(fraction: float, message: str) -> None:
        console.emit({"event": "progress", "fraction": round(fraction, 4), "message": message})

    found = get(which, folder, source=options.source, progress=progress)
    console.emit({"event": "model", **_told(found), "state": "there"})
    console.say(f"{found.path}\nSHA-256 {found.sha256}, remembered; {found.size:,} bytes; SHA-1 as in the catalogue.")
    elsewhere = found.path.parent.resolve() != store.store_folder().resolve()
    console.say(f"Now it opens with --model {found.path if elsewhere else which.name}")


def _cached(options: argparse.Namespace, console: Console) -> None:
    folder = _folder(options)
    found = store.stored(folder)
    for one in found:
        _show(one, "there" if one.whole else "broke off", console)
    shown = folder or store.store_folder()
    console.say(f"In {shown}: {sum(x.size for x in found) / _MEGABYTE:.1f} MB." if found else f"Nothing is in {shown}.")


def _remove(options: argparse.Namespace, console: Console) -> None:
    if options.all == bool(options.names):
        raise InputError("Say what is to be removed: a network's name, or --all.")
    folder = _folder(options)
    names = list(dict.fromkeys(x.name for x in store.stored(folder))) if options.all else options.names
    for one in store.remove(names, folder):
        _show(one, "removed", console)


def _show(one: Stored, state: str, console: Console) -> None:
    console.emit({"event": "model", **_told(one), "state": state})
    sha256 = f"; SHA-256 {one.sha256}" if one.sha256 else ""
    console.say(f"{one.name} {one.version}  {state}: {one.path.name}, {one.size:,} bytes{sha256}")


def _told(one: Stored) -> dict[str, Any]:
    return {**asdict(one), "path": str(one.path)}


def _state(which: Entry, found: Stored | None) -> str:
    if found is None:
        return f"about {which.megabytes} MB to download"
    if not found.whole:
        return f"{found.size / _MEGABYTE:.1f} MB of about {which.megabytes} MB downloaded"
    return f"downloaded, {found.size / _MEGABYTE:.1f} MB"


def _lines(which: Entry, state: str, width: int) -> Iterator[str]:
    yield f"{which.name} {which.version} ({state})"
    rows = {
        "Finds": f"{which.task}; {which.network}",
        "Takes": ", ".join(which.channels),
        "Gives": ", ".join(which.classes),
        "Licence": f"{which.licence} (configuration and weights)",
        "Trained on": which.data,
        "SHA-1": which.sha1,
        "SHA-256": which.sha256,
        "From": which.url,
    }
    for label, text in rows.items():
        if text:
            start = f"  {label:{_LABEL}}"
            wrapped = textwrap.TextWrapper(width, start, " " * len(start), break_long_words=False, break_on_hyphens=False)
            yield from wrapped.wrap(text)


def _folder(options: argparse.Namespace) -> Path | None:
    return Path(options.folder) if options.folder else None
