"""The list of recipes, and all about one of them."""

from __future__ import annotations

import argparse
import json

from SegAdversarialLib.cli.console import Console
from SegAdversarialLib.cli.listing import explained, line
from SegAdversarialLib.cli.readable import columns
from SegAdversarialLib.defenses.recipes import RECIPES, find


def recipes(options: argparse.Namespace, console: Console) -> None:
    """List the recipes, or explain one."""
    chosen = [find(options.recipe)] if options.recipe else list(RECIPES.values())
    if options.json:
        print(json.dumps({cls.name: cls.model_json_schema() for cls in chosen}, indent=2, ensure_ascii=False))
        return
    width, column = columns(), max(len(cls.name) for cls in chosen)
    lines = explained(chosen[0], width) if options.recipe else (line(cls, column, width) for cls in chosen)
    console.say("\n".join(lines))
    for cls in chosen:
        console.emit({"event": "recipe", "name": cls.name, "schema": cls.model_json_schema()})
