"""TorchScript files: whole networks as programs, opened only when their source is trusted."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.errors import InputError, detail_of
from SegAdversarialLib.formats.settings import ModelSettings, is_ours, nearly
from SegAdversarialLib.formats.trust import Trust, trusts
from SegAdversarialLib.formats.verdicts import verdict
from SegAdversarialLib.volumes.archives import checked_zip, read_member

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)

_LARGEST_SOURCE = 1 << 26
_LARGEST_SETTINGS = 1 << 20
_SAID_WITHIN = set(ModelSettings.model_fields) - {"format", "network", "weights", "weights_within", "members"}

_DEVICE = re.compile(r"torch\.device\(([^()]*)\)")
_TO_CUDA = re.compile(r"\btorch\.cuda\(")
_DEVICE_ATTRIBUTE = re.compile(r"^\s+(\w+) : (?:Optional\[)?Device\b", re.MULTILINE)
"""How devices stand in a program's source: as words, as a method, and as attributes of its modules."""


def load(path: Path, trust: Trust, device: torch.device) -> torch.nn.Module:
    """The network in the file, for a device: also where its program names another one, that of the machine it was made on.

    The file is read once: what is opened are the bytes whose sum is trusted, whatever lies at its place meanwhile.

    Raises:
        InputError: its source is not trusted, or it is damaged.
    """
    import torch.jit

    content = _bytes_of(path)
    if not trusts(trust, [hashlib.sha256(content).hexdigest()]):
        raise InputError(
            f"{path} is a TorchScript file, a program that could do anything with your files ({verdict(path)}); if you trust "
            "its source, say so (--trust, or trust=True)."
        )
    with checked_zip(io.BytesIO(content), path) as archive:
        text = _source_of(archive)
        named = [*_DEVICE.findall(text), *_TO_CUDA.findall(text)]
        source = io.BytesIO(content)
        if any(x.strip("\"'") != str(device) for x in named):
            source = _for_device(archive, device)
    del content
    try:
        network: torch.nn.Module = torch.jit.load(source, map_location=device)
        kept = _set_attributes(network, set(_DEVICE_ATTRIBUTE.findall(text)), device)
    except Exception as error:  # a damaged program can break the reader anywhere
        raise InputError(f"{path} is no TorchScript network, or it is damaged ({detail_of(error)}).") from error
    gpus = [x for x in re.findall(r"cuda(?::\d+)?|mps|xpu", " ".join([*named, *kept])) if x not in (str(device), device.type)]
    if gpus:  # that it was made on a CPU, as most are, nobody need know
        _log.warning("%s was made for %s, which stands in its program; here it runs on %s.", path.name, gpus[0], device)
    return network


def settings_within(path: Path) -> dict[str, Any]:
    """What a program says of itself in our words: a JSON file that was saved in it (`torch.jit.save(..., _extra_files=...)`).

    Nothing runs. What names other files, and what is no setting of ours, is left out; a misspelt one stays, and is told later.

    Raises:
        InputError: the archive could do harm, or is damaged.
    """
    found: dict[str, Any] = {}
    with checked_zip(path) as archive:
        for member in archive.infolist():
            inner = member.filename.partition("/")[2]
            if inner.startswith("extra/") and inner.endswith(".json") and member.file_size <= _LARGEST_SETTINGS:
                try:
                    data = json.loads(archive.read(member))
                except (ValueError, RecursionError):
                    continue
                found |= {key: x for key, x in data.items() if _is_said(key)} if is_ours(data) else {}
    return found


def _is_said(name: str) -> bool:
    """Whether a name in a program's settings counts, or was meant to."""
    return name in _SAID_WITHIN or (name not in ModelSettings.model_fields and nearly(name) in _SAID_WITHIN)


def _sources(archive: zipfile.ZipFile) -> list[str]:
    return [name for name in archive.namelist() if "code/" in name and name.endswith(".py")]


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); give a file that you may read.") from error


def _source_of(archive: zipfile.ZipFile) -> str:
    """All of a program's source."""
    return "\n".join(read_member(archive, name, _LARGEST_SOURCE).decode(errors="replace") for name in _sources(archive))


def _for_device(archive: zipfile.ZipFile, device: torch.device) -> io.BytesIO:
    """The program with its devices exchanged: tensors that it makes on its way must lie where its input does."""
    changed = io.BytesIO()
    with zipfile.ZipFile(changed, "w") as copy:
        sources = set(_sources(archive))
        for member in archive.infolist():
            content = archive.read(member)
            if member.filename in sources:
                text = _DEVICE.sub(f'torch.device("{device}")', content.decode())
                content = (_TO_CUDA.sub("torch.cpu(", text) if device.type == "cpu" else text).encode()
            copy.writestr(member.filename, content)
    changed.seek(0)
    return changed


def _set_attributes(network: torch.nn.Module, names: set[str], device: torch.device) -> list[str]:
    """Let modules that keep a device under one of these names keep this one; which they kept before."""
    import torch

    kept = []
    for module in network.modules():
        for name in names:
            if isinstance(before := getattr(module, name, None), torch.device):
                kept.append(str(before))
                setattr(module, name, device)
    return kept
