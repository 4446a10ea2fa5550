"""What a file is, told from its content: nothing in it runs, and torch is not needed.

Names say little: weights, programs and whole checkpoints are all called model.pt. The first bytes, the members of an archive,
and the instructions of a pickle (read, never followed) say it.
"""

from __future__ import annotations

import gzip
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats.bundle_config import Config
from SegAdversarialLib.formats.pickles import PickleContent, read_pickle
from SegAdversarialLib.formats.unopened import NotOpened
from SegAdversarialLib.formats.verdicts import verdict
from SegAdversarialLib.volumes.archives import check_directory, check_members

Kind = Literal["torchscript", "weights", "ensemble", "foreign", "other"]


@dataclass(frozen=True)
class Content:
    """What a file is.

    Attributes:
        kind: "torchscript" (a program), "weights" (tensors by name), "ensemble" (settings that name other networks),
            "foreign" (another tool's network, which one of `described.READERS` reads), or "other": no network that this
            software opens.
        what: it in words that go on from "FILE is".
        way_out: what would open it today, as a part of a sentence.
        pickled: whether opening it as Python does would run what it says.
        spared: what its own tool would run in it and this software does not, in words.
    """

    kind: Kind
    what: str
    way_out: str = ""
    pickled: bool = False
    spared: str = ""

    def refusal(self, path: Path, missing: Sequence[str] = ()) -> InputError:
        """Why it is not opened as it stands.

        Args:
            path: where it lies.
            missing: what would have to be said for it to open.
        """
        scanned = f" ({verdict(path)})" if self.pickled else ""
        way_out = self.way_out or _NAME_THE_NETWORK
        message = f"{path} is {self.what}{scanned}; {way_out}."
        if self == _UNKNOWN or self.way_out == _AGAIN:
            return InputError(message)
        never = self.kind == "other" and way_out != _GIVE_THE_BUNDLE
        if way_out == _GIVE_THE_BUNDLE:
            missing = ("the rest of its bundle: the folders configs and models with its weights",)
        runs = ("what is pickled in it",) if self.pickled else ()
        programs = (path,) if self.pickled else ()
        return NotOpened(
            message, path, self.what, missing, way_out, never=never, programs=programs, runs=runs, spared=self.spared
        )


_NAME_THE_NETWORK = (
    "name the MONAI architecture that they belong to in a JSON file beside it "
    '("network": {"name": "UNet", "arguments": {...}})'
)
_EXPORT_AGAIN = "open it with the torch that made it, and export it again with a newer one"
_SAVE_AS_PROGRAM = "save the network as TorchScript (torch.jit.trace) with the software that made it"
_AGAIN = "download or copy it again"
_GIVE_THE_BUNDLE = "give the bundle's folder, which holds configs/inference.json and models, or its zip archive"
_JOIN = "join them: safetensors.torch.save_file({**load_file(PART1), **load_file(PART2)}, FILE)"
_OF_STUDIES = {"study", "paper", "cohort", "networks", "attacks"}
_NO_NETWORK = "give a network file: TorchScript, or weights of a MONAI network"
_AN_IMAGE = "give it as an image of the case (--channel NAME=FILE), and as the network a network file (--model)"

_MAGIC: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes networks", f"this needs TensorFlow: {_SAVE_AS_PROGRAM}"),
    (4, b"TFL3", "a TensorFlow Lite network", "convert the network that it was made from to PyTorch"),
    (4, b"ET12", "an ExecuTorch program", _SAVE_AS_PROGRAM),
    (0, b"\x93NUMPY", "a NumPy array", _NO_NETWORK),
    (0, b"NRRD000", "an image (NRRD)", _AN_IMAGE),
    (344, b"n+1\0", "an image (NIfTI)", _AN_IMAGE),
    (344, b"ni1\0", "an image (NIfTI)", _AN_IMAGE),
    (4, b"n+2\0", "an image (NIfTI)", _AN_IMAGE),
    (128, b"DICM", "an image (DICOM)", _AN_IMAGE),
    (0, b"ObjectType = Image", "an image (MetaImage)", _AN_IMAGE),
    (0, b"\x89PNG", "a picture (PNG)", _AN_IMAGE),
    (0, b"\xff\xd8\xff", "a picture (JPEG)", _AN_IMAGE),
    (0, b"MATLAB 5.0 MAT-file", "a MATLAB file", "save its weights from Python as safetensors"),
    (257, b"ustar", "a tar archive", "unpack it and give the network's file"),
    (0, b"\xfd7zXZ", "a compressed file (xz)", "unpack it and give the network's file"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it and give the network's file"),
    (0, b"Rar!", "a RAR archive", "unpack it and give the network's file"),
    (0, b"%PDF", "a PDF document", _NO_NETWORK),
)
"""Offset and bytes that tell a format, what it is, and the way out."""

_LARGEST_PICKLE = 1 << 28
"""Bytes of a pickle in an archive that are read: tensors lie beside it, so that it is small."""

_BY_ENDING = {
    ".pb": ("a TensorFlow graph", f"this needs TensorFlow: {_SAVE_AS_PROGRAM}"),
    ".index": ("a part of a TensorFlow checkpoint", f"this needs TensorFlow: {_SAVE_AS_PROGRAM}"),
    ".engine": ("a TensorRT engine", "give the network that it was made from"),
    ".plan": ("a TensorRT engine", "give the network that it was made from"),
}
"""What has no bytes of its own at its beginning, and that only where nothing else is known of the file."""


def recognise(path: Path) -> Content:
    """What a file is.

    Raises:
        InputError: it cannot be read, or is an archive that could do harm.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(4096)
            found = _of_head(head) or _of_part(path) or _of_structure(head, stream, path) or _of_text(head)
            ending = _BY_ENDING.get(path.suffix.lower())
            return found or (Content("other", *ending) if ending is not None else _UNKNOWN)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); give a file that you may read.") from error


_UNKNOWN = Content("other", "no network file that this software knows, or it is damaged", _NO_NETWORK)
_WEIGHTS = Content("weights", "a file that holds weights alone")


def _of_head(head: bytes) -> Content | None:
    """What the first bytes say alone."""
    if not head:
        return Content("other", "empty", _AGAIN)
    for offset, magic, what, way_out in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return Content("other", what, way_out)
    if head[:2] == b"\x1f\x8b":
        return _of_gzip(head)
    if _is_onnx(head):
        return Content("other", "an ONNX network", f"gradients need PyTorch: {_SAVE_AS_PROGRAM}")
    return None


def _of_structure(head: bytes, stream: IO[bytes], path: Path) -> Content | None:
    """What archives, pickles and safetensors say."""
    size = path.stat().st_size
    if is_safetensors(head):
        (length,) = struct.unpack("<Q", head[:8])
        stream.seek(8)
        return _of_safetensors(stream.read(length) if length <= size - 8 else b"", size - 8 - length)
    if head[:2] == b"PK":
        return _of_zip(path)
    if head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        stream.seek(0)
        return _of_pickle(read_pickle(stream))
    return None


_PART = re.compile(r".+-(\d{5})-of-(\d{5})\.(?:safetensors|bin)")


def _of_part(path: Path) -> Content | None:
    """One of several files of a network's weights, as Hugging Face's libraries cut them: only their names tell them."""
    if (found := _PART.fullmatch(path.name)) is None:
        return None
    return Content("other", f"part {int(found[1])} of a network's weights in {int(found[2])} files", _JOIN)


def is_safetensors(head: bytes) -> bool:
    """Whether a file begins as safetensors do: with the length of a JSON header, and the header."""
    return head[5:9] == b"\0\0\0{"


def _of_gzip(head: bytes) -> Content:
    try:
        inside = _of_head(zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head))
    except (zlib.error, gzip.BadGzipFile):
        inside = None
    if inside is not None and inside.what != "empty":
        return Content("other", f"{inside.what}, compressed", inside.way_out)
    return Content("other", "a compressed file (gzip)", "unpack it and give the network's file")


def _is_onnx(head: bytes) -> bool:
    """Whether a protocol buffer begins as ONNX' ModelProto does: its version, then a text (the producer) or the graph."""
    return len(head) > 4 and head[0] == 0x08 and 0 < head[1] < 32 and head[2] in (0x12, 0x1A, 0x22, 0x3A, 0x42)


def _of_zip(path: Path) -> Content:
    """What an archive's members say: torch's own formats, and what else comes as a zip file."""
    cut = Content("other", f"cut off or damaged (a zip archive without its end, {path.stat().st_size:,} bytes)", _AGAIN)
    check_directory(path, path)
    try:
        with zipfile.ZipFile(path) as archive:
            check_members(archive, path)
            names = archive.namelist()
            ends = {name.partition("/")[2] for name in names} | set(names)
            if "constants.pkl" in ends or any(name.startswith("code/") for name in ends):
                return Content("torchscript", "a TorchScript file")
            if "archive_format" in ends or "serialized_exported_program.json" in ends:
                return Content("other", "a network exported with torch.export (.pt2) before torch 2.7", _EXPORT_AGAIN)
            if ".data/extern_modules" in ends:
                return Content("other", "a torch.package archive, which brings Python code of its own", _SAVE_AS_PROGRAM)
            if "data.pkl" in ends:
                member = next(x for x in archive.infolist() if x.filename.rpartition("/")[2] == "data.pkl")
                if member.file_size > _LARGEST_PICKLE:
                    return _WEIGHTS
                with archive.open(member) as stream:
                    return _of_pickle(read_pickle(stream), archived=True)
            if "model.weights.h5" in ends:
                return Content("other", "a Keras network", f"this needs TensorFlow: {_SAVE_AS_PROGRAM}")
            if any(name.endswith(".npy") for name in names):
                return Content("other", "an archive of NumPy arrays (.npz)", "save its weights as safetensors")
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            return Content("other", f"a zip archive ({shown or 'empty'})", "unpack it and give the network's file or folder")
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error, EOFError):
        return cut


def _of_pickle(found: PickleContent, archived: bool = False) -> Content:
    """What torch.save has written, or somebody else has pickled."""
    if not found.whole:
        return Content("other", "cut off or damaged (a pickle without its end)", _AGAIN)
    lightning = "pytorch-lightning_version" in found.strings
    if "torch.nn.parameter.UninitializedParameter" in found.imports:
        way_out = "let the network see one input before its weights are saved"
        return Content("other", "a file of weights that were never made (a Lazy layer had not seen an input yet)", way_out)
    if {"plot_stuff", "lr_scheduler_state_dict", "optimizer_state_dict"} <= found.strings:
        way_out = "networks of version 2 open; train it again, or wrap it in Python (SegmentationModel.from_network)"
        return Content("other", "a checkpoint of nnU-Net's first version, whose plans are a Python pickle beside it", way_out)
    if {"network_weights", "trainer_name"} <= found.strings:
        way_out = "put it beside its plans.json and dataset.json: it does not say them, as those of nnU-Net's own trainers do"
        return Content("weights", "a checkpoint of nnU-Net, which holds weights alone", way_out)
    if found.network_class and not lightning:
        what = f"a whole pickled network ({found.network_class}), not weights alone"
        return Content("other", what, _of_class(found.network_class), pickled=True)
    if not (archived or found.from_torch):
        return Content("other", "a Python pickle, which could run programs when it is opened", _SAVE_STATE, pickled=True)
    if lightning:
        return Content("weights", "a checkpoint of PyTorch Lightning, which holds weights alone")
    return _WEIGHTS


_SAVE_STATE = 'save its weights alone, torch.save(network.state_dict(), "weights.pt") or best as safetensors'


def _of_class(dotted: str) -> str:
    """What would open a pickled network of a class."""
    name = dotted.rpartition(".")[2]
    if dotted.startswith("monai.networks.nets."):
        return f'{_SAVE_STATE}, and name the architecture ("network": {{"name": "{name}", ...}})'
    return 'save it as TorchScript, torch.jit.script(network).save("network.ts"), where its source code is'


def _of_safetensors(header: bytes, data_size: int) -> Content:
    """Whether the tensors that the header promises are all there."""
    try:
        tensors = json.loads(header)
        promised = max((x["data_offsets"][1] for name, x in tensors.items() if name != "__metadata__"), default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return Content("other", "cut off or damaged (safetensors without a whole header)", _AGAIN)
    if promised != data_size:
        what = f"cut off or damaged (safetensors of {promised:,} bytes, of which {data_size:,} are there)"
        return Content("other", what, _AGAIN)
    return Content("weights", "a file that holds weights alone (safetensors)")


def _of_text(head: bytes) -> Content | None:
    """What somebody could read."""
    try:
        text = head.decode("utf-8-sig") if len(head) < 4096 else head.decode("utf-8-sig", "ignore")
    except UnicodeDecodeError:
        return None
    if any(letter < " " and letter not in "\t\r\n\f" for letter in text):
        return None
    start = text.lstrip()[:40].lower()
    if text.startswith("version https://git-lfs.github.com/spec/"):
        size = re.search(r"^size (\d+)$", text, re.MULTILINE)
        missing = f" ({int(size[1]):,} bytes)" if size else ""
        return Content("other", "a Git LFS pointer, not the file itself", f"fetch the file{missing} with git lfs pull")
    if start.startswith(("<!doctype html", "<html")):
        return Content("other", "a web page (HTML) that was saved in the network's place", "download the file itself")
    if start.startswith(("{", "[")):
        return Content("other", "a JSON file", _NO_NETWORK)
    if start.startswith("<"):
        return Content("other", "an XML file", _NO_NETWORK)
    if {"study", "paper"} & (keys := set(re.findall(r"^(\w+):", text, re.MULTILINE))) and len(_OF_STUDIES & keys) > 1:
        return Content("other", "a study of this software", "segadversarial study plan tells what it asks for")
    first = (text.strip().splitlines() or [""])[0][:40].strip()
    return Content("other", f'a text file (it begins with "{first}")' if first else "a file of blanks", _NO_NETWORK)


def recognise_folder(folder: Path) -> Content | None:
    """What other software's folder it is; None: none that is known here."""

    def there(*places: str) -> bool:
        return all(any(folder.glob(place)) for place in places)

    if there("saved_model.pb"):
        return Content("other", "a TensorFlow network (SavedModel)", f"this needs TensorFlow: {_SAVE_AS_PROGRAM}")
    if there("job.json") or there("result.json"):
        return Content("other", "a folder of this software's results", "the network that made them is named in its job.json")
    files = sorted(x for x in folder.iterdir() if x.is_file())
    if (part := next((x for x in map(_of_part, files) if x is not None), None)) is not None:
        return replace(part, what=f"a folder with {part.what.partition(' of ')[2]}")
    first = next((x for x in files if not x.name.startswith(".")), None)
    if first is not None and (found := recognise(first)).way_out == _AN_IMAGE:
        return Content("other", f"a folder of images ({first.name} is {found.what})", _AN_IMAGE)
    return None


def recognise_json(data: Any) -> Content:
    """What a JSON file is that describes no network for this software."""
    keys = set(data) if isinstance(data, dict) else set()
    if {"modelTopology", "weightsManifest"} & keys:
        what, way_out = "a TensorFlow.js network (as brainchop's)", f"this needs TensorFlow: {_SAVE_AS_PROGRAM}"
    elif "network_def" in keys:
        return Content("other", "a MONAI bundle's configuration", _GIVE_THE_BUNDLE, spared=Config(data, "").programs())
    elif "network_data_format" in keys:
        what, way_out = "a MONAI bundle's metadata", _GIVE_THE_BUNDLE
    elif {"configurations", "plans_name"} <= keys:
        what, way_out = "nnU-Net's plans", "give the folder of a configuration, with fold_0/checkpoint_final.pth in it"
    elif "labels" in keys and {"channel_names", "modality"} & keys:
        what, way_out = "nnU-Net's description of a data set", _NO_NETWORK
    elif "kind" in keys and {"output", "study"} & keys:
        what, way_out = "a job of this software", "segadversarial run does it again"
    else:
        shown = ", ".join(sorted(map(str, keys))[:4])
        what = f"a JSON file of something else ({shown or 'no object with names'})"
        way_out = "settings of a network have channels, classes and network or weights"
    return Content("other", what, way_out)
