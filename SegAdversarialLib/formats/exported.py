"""Programs that torch.export has written (.pt2): their sizes are told from their graph, which is read as data.

Loading one evaluates texts that stand in it (the guards are run with exec, sizes go through SymPy's parser, which evals, any
function of torch may be named in the graph, and tensors may be pickled; torch 2.13), so that it opens with trust alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.errors import InputError, detail_of
from SegAdversarialLib.formats.described import Described
from SegAdversarialLib.formats.recognition import Content
from SegAdversarialLib.volumes.archives import begins_as_zip, checked_zip, read_member
from SegAdversarialLib.volumes.files import is_file

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.formats.settings import ModelSettings

_GRAPH = re.compile(r"(?:[^/]+/)?models/[^/]+\.json")
_SAMPLES = re.compile(r"(?:[^/]+/)?data/sample_inputs/[^/]+\.pt")
_LARGEST_GRAPH = 1 << 28
_END = 1 << 22
"""Bytes at the end of an archive that are looked through for its table of contents."""

_RUNS = ("texts in it, which torch.export evaluates as Python when it loads it",)
_AGAIN = "export the network again with torch.export.save"


@dataclass(frozen=True)
class _Size:
    """What one axis of the input may be: multiples of `multiple` from `least` to `most`."""

    least: int
    most: float
    multiple: int

    @property
    def fixed(self) -> bool:
        return self.least == self.most


def describe(path: Path) -> Described | None:
    """What an exported program says of its sizes; None: it is none.

    Raises:
        InputError: it is damaged, holds compiled code instead of a graph, or takes something other than one batch of images.
    """
    if not (is_file(path) and begins_as_zip(path)):
        return None
    graph = _graph_of(path)
    if graph is None:
        return None
    sizes = _sizes_of(graph, path)
    batch, channels, *window = sizes
    settings, warnings = _settings(batch, window)
    return Described(
        content=Content("foreign", f"a network exported with torch.export (.pt2; {_in_words(channels, window)})"),
        settings=settings,
        data=path,
        files=(path,),
        load=lambda chosen, device, sums: _load(path, chosen, sizes, device, sums),
        runs=_RUNS,
        warnings=warnings,
    )


def _graph_of(path: Path) -> dict[str, Any] | None:
    """The one program in an archive; None: it is no archive of torch.export."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _END))
        if b"archive_format" not in stream.read():  # as its table of contents names it
            return None
    with checked_zip(path) as archive:
        names = archive.namelist()
        if not any(x.rpartition("/")[2] == "archive_format" for x in names):
            return None
        graphs = [x for x in names if _GRAPH.fullmatch(x)]
        if not graphs and any("aotinductor/" in x for x in names):
            raise InputError(f"{path} holds compiled code (AOTInductor), which passes no gradient on; {_AGAIN}.")
        if len(graphs) != 1:
            raise InputError(
                f"{path} holds {len(graphs)} programs exported with torch.export; a file with one would be right."
            )
        text = read_member(archive, graphs[0], _LARGEST_GRAPH)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        what = f"{path} is a network exported with torch.export that is damaged ({detail_of(error)})"
        raise InputError(f"{what}; {_AGAIN}.") from error
    return found if isinstance(found, dict) else {}


def _sizes_of(program: dict[str, Any], path: Path) -> list[_Size]:
    """What each axis of a program's one input may be: batch, channels, and two or three of space."""
    try:
        graph = program["graph_module"]["graph"]
        specs = program["graph_module"]["signature"]["input_specs"]
        inputs = [x["user_input"]["arg"]["as_tensor"]["name"] for x in specs if "user_input" in x]
        ranges = program["range_constraints"]
        sizes = [[_size(x, ranges) for x in graph["tensor_values"][name]["sizes"]] for name in inputs]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(
            f"{path} is a network exported with torch.export whose inputs cannot be read ({error!r}); {_AGAIN}."
        ) from error
    if len(sizes) != 1 or len(sizes[0]) not in (4, 5):
        shown = ", ".join(f"{len(x)} axes" for x in sizes) or "none"
        raise InputError(
            f"{path} takes {len(sizes)} tensors ({shown}); a program that takes one batch of images, with 4 axes (2D) or 5 "
            "(3D), would be right."
        )
    return sizes[0]


def _size(said: dict[str, Any], ranges: dict[str, Any]) -> _Size:
    """A number, or a multiple of a symbol, such as Mul(Integer(4), Symbol('s65', positive=True, integer=True))."""
    if "as_int" in said:
        return _Size(int(said["as_int"]), int(said["as_int"]), 1)
    text = said["as_expr"]["expr_str"]
    symbol = re.search(r"Symbol\('(\w+)'", text) or re.search(r"\b([su]\d+)\b", text)
    if symbol is None:
        raise ValueError(text[:60])
    plain = re.fullmatch(r"Mul\(Integer\((\d+)\), Symbol\('\w+'[^()]*\)\)|(\d+)\*\w+", text)
    multiple = int(plain[1] or plain[2]) if plain else 1
    allowed = ranges.get(symbol[1], {})
    least, most = allowed.get("min_val"), allowed.get("max_val")
    return _Size(multiple * int(least or 1), multiple * (math.inf if most is None else int(most)), multiple)


def _settings(batch: _Size, window: list[_Size]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What sizes mean for windows, and what is to be said of them."""
    settings: dict[str, Any] = {"preprocessing": {"axes": "kji"[-len(window) :]}} if len(window) == 2 else {}
    multiple = math.lcm(*(x.multiple for x in window))
    if multiple > 1:
        settings["size_multiple"] = multiple
    if batch.most < 4:
        settings["window_batch"] = int(batch.most)
    warnings = []
    shown = " x ".join(_in_numbers(x) for x in window)
    if any(x.fixed for x in window):
        largest = [int(x.most) for x in window if x.most < math.inf]
        settings["window"] = [int(x.most) if x.most < math.inf else max(largest) for x in window]
        warnings.append(f"It was exported for {shown} voxels: volumes go through it in windows of that size.")
    elif any(x.most < math.inf for x in window):
        warnings.append(f"It was exported for {shown} voxels: for larger volumes say a window.")
    if batch.fixed and batch.least > 1:
        warnings.append(f"It was exported for {batch.least} windows at a time: batches are filled up with zeros.")
    return settings, tuple(warnings)


def _in_numbers(size: _Size) -> str:
    if size.fixed:
        return str(size.least)
    steps = f" in steps of {size.multiple}" if size.multiple > 1 else ""
    return f"{size.least} or more{steps}" if size.most == math.inf else f"{size.least} to {int(size.most)}{steps}"


def _in_words(channels: _Size, window: list[_Size]) -> str:
    return f"it takes {_in_numbers(channels)} channel(s) of {' x '.join(map(_in_numbers, window))} voxels"


def _load(path: Path, chosen: ModelSettings, sizes: list[_Size], device: torch.device, sums: Sequence[str]) -> torch.nn.Module:
    """The network in an exported program, for a device. The file is read once: what runs are bytes with one of these sums.

    Raises:
        InputError: it is damaged, takes another number of channels than is said, or has another sum (SHA-256).
    """
    import torch

    channels = sizes[1]
    if chosen.channels is not None and not channels.least <= len(chosen.channels) <= channels.most:
        raise InputError(
            f"{path} takes {channels.least} channel(s); its settings name {len(chosen.channels)} "
            f"({', '.join(chosen.channels)})."
        )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() not in sums:
        raise InputError(f"{path} changed while it was opened; open it again.")
    try:
        program = torch.export.load(_without_samples(content, path))
        if device.type != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, device)
        network: torch.nn.Module = program.module()
    except Exception as error:  # a damaged program can break the reader anywhere
        raise InputError(f"{path} is no program of torch.export, or it is damaged ({detail_of(error)}).") from error
    # its mode was settled when it was exported; the methods that refuse to change it refuse for modules around it, too
    for name in ("train", "eval"):
        network.__dict__.pop(name, None)
    return _asked_within(network, sizes, path)


def _without_samples(content: bytes, path: Path) -> Any:
    """The archive without the example that it was exported with: somebody's voxels, pickled."""
    import torch

    with checked_zip(io.BytesIO(content), path):
        pass
    emptied = io.BytesIO()
    reader = torch._C.PyTorchFileReader(io.BytesIO(content))
    writer = torch._C.PyTorchFileWriter(emptied)
    for name in reader.get_all_records():
        if name in (".data/version", ".data/serialization_id", "byteorder", "version"):
            continue
        content = b"" if _SAMPLES.fullmatch(name) else reader.get_record(name)
        writer.write_record(name, content, len(content))
    writer.write_end_of_file()
    emptied.seek(0)
    return emptied


def _asked_within(network: torch.nn.Module, sizes: list[_Size], path: Path) -> torch.nn.Module:
    """A program that says in a sentence what it does not take; batches smaller than its own are filled up with zeros."""
    import torch

    class Exported(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.program = network

        def forward(self, batch: torch.Tensor) -> Any:
            wrong = [x for have, x in zip(batch.shape[2:], sizes[2:]) if not x.least <= have <= x.most or have % x.multiple]
            if wrong or len(batch) > sizes[0].most:
                taken = " x ".join(_in_numbers(x) for x in sizes[2:])
                raise InputError(
                    f"{path} takes up to {sizes[0].most} window(s) of {taken} voxels at once, not {len(batch)} of "
                    f"{' x '.join(map(str, batch.shape[2:]))}; say a window, or a size_multiple or window_batch, that fits."
                )
            count = len(batch)
            if count < sizes[0].least:
                batch = torch.cat([batch, batch.new_zeros((sizes[0].least - count, *batch.shape[1:]))])
                return _first(self.program(batch), count)
            return self.program(batch)

    return Exported()


def _first(given: Any, count: int) -> Any:
    """The first answers of each output."""
    if isinstance(given, dict):
        return {key: x[:count] for key, x in given.items()}
    return type(given)(x[:count] for x in given) if isinstance(given, (tuple, list)) else given[:count]
