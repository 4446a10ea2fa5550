"""What a Python pickle would do, told from its instructions: nothing is unpickled, nothing in it runs."""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from itertools import islice
from typing import IO

_MOST_INSTRUCTIONS = 2_000_000
"""Checkpoints of large networks have some 100,000; what comes later is not looked at."""

_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
"""The number with which torch.save began its files before they were zip archives."""


@dataclass(frozen=True)
class PickleContent:
    """What stands in a pickle.

    Attributes:
        imports: the classes and functions that it would import, as dotted names in their order.
        strings: all texts in it, the names of weights and of a checkpoint's parts among them.
        network_class: the class of the torch module that it holds whole; "": none.
        whole: whether it reaches its end.
        from_torch: whether torch.save wrote it, in the form that is no zip archive.
    """

    imports: tuple[str, ...]
    strings: frozenset[str]
    network_class: str
    whole: bool
    from_torch: bool


def read_pickle(stream: IO[bytes]) -> PickleContent:
    """Read the instructions of a pickle; of several in one file, as torch.save once wrote, up to the one with the data."""
    reader = _Reader()
    whole = reader.read(stream)
    from_torch = whole and reader.last_number == _TORCH_MAGIC
    if from_torch:  # then come the protocol, the kind of machine, and the data
        for _ in range(3):
            whole = whole and reader.read(stream)
    return PickleContent(tuple(reader.imports), frozenset(reader.strings), reader.network_class, whole, from_torch)


class _Reader:
    def __init__(self) -> None:
        self.imports: dict[str, None] = {}
        self.strings: set[str] = set()
        self.network_class = ""
        self.last_number: int | None = None

    def read(self, stream: IO[bytes]) -> bool:
        """Take in one pickle; whether it reaches its end."""
        memo: dict[int, str] = {}
        recent = ["", ""]  # the last two texts on the stack, as far as they can be followed
        newest = ""
        try:
            for opcode, argument, _ in islice(pickletools.genops(stream), _MOST_INSTRUCTIONS):
                match opcode.name:
                    case "GLOBAL" | "INST":
                        self.imports[str(argument).replace(" ", ".")] = None
                    case "STACK_GLOBAL":
                        self.imports[".".join(recent)] = None
                    case "MEMOIZE":
                        memo[len(memo)] = newest
                    case "PUT" | "BINPUT" | "LONG_BINPUT":
                        memo[int(argument or 0)] = newest
                    case "GET" | "BINGET" | "LONG_BINGET":
                        recent = [recent[1], memo.get(int(argument or 0), "")]
                    case "STOP":
                        return True
                if isinstance(argument, str) and opcode.name not in ("GLOBAL", "INST"):
                    newest = argument
                    recent = [recent[1], argument]
                    self.strings.add(argument)
                    if argument == "_parameters" and not self.network_class:  # what every torch module keeps first
                        self.network_class = next((x for x in reversed(self.imports) if "builtin" not in x), "")
                elif not opcode.name.endswith(("PUT", "MEMOIZE")):
                    newest = ""
                if opcode.name.startswith(("INT", "BININT", "LONG")) and isinstance(argument, int):
                    self.last_number = argument
        except Exception:  # anything may stand in a damaged file
            return False
        return True  # not looked at to its end
