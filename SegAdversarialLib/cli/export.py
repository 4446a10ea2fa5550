"""`segadversarial export`: a network in our own form, safetensors and model.json."""

from __future__ import annotations

import argparse

from SegAdversarialLib.cli.console import Console
from SegAdversarialLib.cli.making import model_of
from SegAdversarialLib.errors import InputError


def export(options: argparse.Namespace, console: Console) -> None:
    """Write a network."""
    from SegAdversarialLib.formats.exporting import export_network
    from SegAdversarialLib.formats.source import check_source

    if options.model is not None:
        raise InputError("Give the network as the first word and the folder as the second; --model is for other commands.")
    options.model = options.network
    source = model_of(options)
    check_source(source)
    file = export_network(source.path, options.folder, settings=source.settings, **source.changes)
    console.emit({"event": "result", "name": "export", "file": str(file)})
    console.say(f"Written: {file} and its weights; it opens as {options.folder}.")
