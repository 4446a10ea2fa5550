"""A parser that says in one sentence what is wrong with a command's words."""

from __future__ import annotations

import argparse
import math
import re
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """As argparse's, but an error is one line: no list of all options, no names of Python's types."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.register("type", int, whole_number)
        self.register("type", float, number)

    def parse_known_args(self, *arguments: Any, **settings: Any) -> Any:
        """What is unknown to a command is refused by it: argparse leaves it to the parser of all, which cannot help."""
        found, unknown = super().parse_known_args(*arguments, **settings)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """End with status 2, the sentence, and where to read on."""
        sentence = message.removeprefix("argument ")
        choice = re.fullmatch(r"(.+): invalid choice: (.+) \(choose from (.+)\)", sentence)
        if choice:
            sentence = f"{choice[1]}: it must be one of {choice[3].replace(chr(39), '')}, not {choice[2]}"
        self.exit(2, f'{self.prog}: {sentence}; "{self.prog} --help" says what there is.\n')


def whole_number(text: str) -> int:
    """A whole number that was written on the command line."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'it must be a whole number, not "{text}"') from None


def number(text: str) -> float:
    """A finite number that was written on the command line."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise argparse.ArgumentTypeError(f'it must be a number, with a point for fractions, not "{text}"')
    return found


def whole_numbers(text: str) -> tuple[int, ...]:
    """Whole numbers separated by commas."""
    try:
        return tuple(int(x) for x in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f'it must be whole numbers separated by commas, not "{text}"') from None


def sizes(text: str) -> tuple[int, ...]:
    """One size for all axes, or three."""
    found = whole_numbers(text)
    if len(found) not in (1, 3):
        raise argparse.ArgumentTypeError(f'it must be one size, or three (slices, rows, columns), not "{text}"')
    return found * 3 if len(found) == 1 else found


def count(text: str) -> int:
    """A whole number, 0 or more."""
    if not text.isascii() or not text.isdecimal():
        raise argparse.ArgumentTypeError(f'it must be a whole number, 0 or more, not "{text}"')
    return int(text)


def seed(text: str) -> int:
    """Which synthetic subject; cohorts of them, not seeds, may have a size behind an @."""
    subject, at, size = text.partition("@")
    if at and subject.isdecimal():
        raise argparse.ArgumentTypeError(f'it must be a whole number, not "{text}"; give the size {size} by its own option')
    return count(text)
