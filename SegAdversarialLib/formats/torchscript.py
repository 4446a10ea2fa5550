"""TorchScript files: whole networks as programs, opened only when their source is trusted."""

from __future__ import annotations

import io
import logging
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.errors import InputError, detail_of

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)

_DEVICE = re.compile(r"torch\.device\(([^()]*)\)")
_TO_CUDA = re.compile(r"\btorch\.cuda\(")
_DEVICE_ATTRIBUTE = re.compile(r"^\s+(\w+) : (?:Optional\[)?Device\b", re.MULTILINE)
"""How devices stand in a program's source: as words, as a method, and as attributes of its modules."""


def load(path: Path, trust: bool, device: torch.device) -> torch.nn.Module:
    """The network in the file, for a device: also where its program names another one, that of the machine it was made on.

    Raises:
        InputError: its source is not trusted, or it is damaged.
    """
    import torch

    if not trust:
        raise InputError(
            f"{path} is a TorchScript file, a program that could do anything with your files; if you trust its source, say so "
            "(--trust, or trust=True)."
        )
    try:
        named = _named_devices(path)
        other = [x for x in named if x != str(device)]
        source: Any = _for_device(path, device) if other else str(path)
        network: torch.nn.Module = torch.jit.load(source, map_location=device)
        _set_attributes(network, path, device)
    except Exception as error:  # a damaged program can break the reader anywhere
        raise InputError(f"{path} is no TorchScript network, or it is damaged ({detail_of(error)}).") from error
    if foreign := [x for x in other if x != "cpu"]:  # programs are usually made on a CPU: nobody need know
        _log.warning("%s was made for %s, which stands in its program; here it runs on %s.", path.name, foreign[0], device)
    return network


def _sources(archive: zipfile.ZipFile) -> list[str]:
    return [name for name in archive.namelist() if "code/" in name and name.endswith(".py")]


def _named_devices(path: Path) -> list[str]:
    """The devices that a program insists on."""
    with zipfile.ZipFile(path) as archive:
        text = "\n".join(archive.read(name).decode() for name in _sources(archive))
    named = [x.strip("\"' ") for x in _DEVICE.findall(text)] + ["cuda"] * bool(_TO_CUDA.search(text))
    return list(dict.fromkeys(named))


def _for_device(path: Path, device: torch.device) -> io.BytesIO:
    """The program with its devices exchanged: tensors that it makes on its way must lie where its input does."""
    changed = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(changed, "w") as copy:
        sources = set(_sources(archive))
        for member in archive.infolist():
            content = archive.read(member)
            if member.filename in sources:
                text = _DEVICE.sub(f'torch.device("{device}")', content.decode())
                content = (_TO_CUDA.sub("torch.cpu(", text) if device.type == "cpu" else text).encode()
            copy.writestr(member.filename, content)
    changed.seek(0)
    return changed


def _set_attributes(network: torch.nn.Module, path: Path, device: torch.device) -> None:
    """Let modules that keep a device keep this one."""
    import torch

    with zipfile.ZipFile(path) as archive:
        names = {x for name in _sources(archive) for x in _DEVICE_ATTRIBUTE.findall(archive.read(name).decode())}
    for module in network.modules():
        for name in names:
            if isinstance(getattr(module, name, None), torch.device):
                setattr(module, name, device)
