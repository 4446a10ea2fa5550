"""Of what a library says when it fails, the line that tells most, in readable length."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import nibabel
import pytest
import safetensors.torch
import SimpleITK
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from SegAdversarialLib.attacks import FGSM
from SegAdversarialLib.errors import InputError, detail_of, first_problem
from SegAdversarialLib.formats.settings import ModelSettings

TORCHSCRIPT = """The following operation failed in the TorchScript interpreter.
Traceback of TorchScript, serialized code (most recent call last):
  File "code/__torch__.py", line 10, in forward
    return (c).forward(x, )
            ~~~~~~~~~~ <--- HERE

Traceback of TorchScript, original code (most recent call last):
  File "net.py", line 9, in forward
    def forward(s,x): return s.c(x)
                             ~~~ <--- HERE
RuntimeError: """
KERNELS = """Could not run 'aten::empty.memory_format' with arguments from the 'CUDA' backend. This could be because the \
operator doesn't exist for this backend, or was omitted during the selective/custom build process (if using custom build). \
'aten::empty.memory_format' is only available for these backends: [CPU, Meta, PythonDispatcher].

CPU: registered at /pytorch/build/aten/src/ATen/RegisterCPU_1.cpp:2401 [kernel]
BackendSelect: registered at /pytorch/build/aten/src/ATen/RegisterBackendSelect.cpp:808 [kernel]
Functionalize: fallthrough registered at /pytorch/aten/src/ATen/FunctionalizeFallbackKernel.cpp:349 [backend fallback]
PythonDispatcher: registered at /pytorch/aten/src/ATen/core/PythonFallbackKernel.cpp:196 [backend fallback]
"""
MINIZ = (
    "This is an internal miniz error. If you are seeing this error, there is a high likelihood that your checkpoint file is "
    "corrupted. This can happen if the checkpoint was not saved properly, or the file was modified after saving."
)
WEIGHTS_ONLY = """Weights only load failed. In PyTorch 2.6, we changed the default value of the `weights_only` argument in \
`torch.load` from `False` to `True`. Do it only if you got the file from a trusted source.
Please file an issue with the following so that we can make `weights_only=True` compatible with your use case: \
WeightsUnpickler error: \n
Unsupported operand 147

Check the documentation of torch.load to learn more about types accepted by default with weights_only https://pytorch.org"""
GLOBAL = """Weights only load failed. This file can still be loaded, to do so you have two options, \x1b[1mdo those steps \
only if you trust the source of the checkpoint\x1b[0m.
\t(1) In PyTorch 2.6, we changed the default value of the `weights_only` argument in `torch.load` from `False` to `True`.
\t(2) Alternatively, to load with `weights_only=True` please check the recommended steps in the following error message.
\tWeightsUnpickler error: Unsupported global: GLOBAL argparse.Namespace was not an allowed global by default. Please use \
`torch.serialization.add_safe_globals([argparse.Namespace])` if you trust this class/function.

Check the documentation of torch.load to learn more about types accepted by default with weights_only https://pytorch.org"""
ITK = "Exception thrown in SimpleITK ImageFileReader_Execute: /ITK/Modules/IO/src/itkX.cxx:2135:\n"
NRRD = """itk::ERROR: NrrdImageIO(0x558adc25e780): ReadImageInformation: Error reading t.nrrd:
[nrrd] nrrdLoad: trouble reading "t.nrrd"
[nrrd] _nrrdFormatNRRD_read: finished reading header, but there were problems
[nrrd] _nrrdHeaderCheck: type (float) and encoding (gzip) require endian info
"""
CUDA = """CUDA error: device-side assert triggered
CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be incorrect.
For debugging consider passing CUDA_LAUNCH_BLOCKING=1
Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.
"""
DYNAMO = """backend='inductor' raised:
InvalidCxxCompiler: No working C++ compiler found in config.cpp.cxx: (None, 'g++')

Set TORCHDYNAMO_VERBOSE=1 for the internal stack trace (please do this especially if you're reporting a bug to PyTorch).
"""
OPERATOR = """
Unknown builtin op: torchvision::nms.
Could not find any similar ops to torchvision::nms. This op may not exist or may not be currently supported in TorchScript.
:
  File "code/a.py", line 3
  ~~~ <--- HERE"""
STATE = """Error(s) in loading state_dict for UNet:
\tMissing key(s) in state_dict: "c.bias".
\tsize mismatch for c.weight: copying a param with shape torch.Size([1]) from checkpoint."""
EINOPS = """ Error while processing rearrange-reduction pattern "(a b) c -> a b c".
 Input tensor shape: torch.Size([5, 4]). Additional info: {'a': 2}.
 Shape mismatch, cannot divide 5 by 2"""
STACK = """Expected all tensors to be on the same device
Exception raised from checkSameGPU at /pytorch/aten/src/ATen/TensorUtils.cpp:10 (most recent call first):
frame #0: c10::Error::Error(c10::SourceLocation) + 0x57 (0x7f in libc10.so)"""


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            RuntimeError(TORCHSCRIPT + "weight of size [3, 2], expected 2 channels"),
            "weight of size [3, 2], expected 2 channels",
        ),
        (RuntimeError(TORCHSCRIPT + KERNELS), KERNELS.partition(". ")[0]),
        (NotImplementedError(KERNELS), KERNELS.partition(". ")[0]),
        (
            RuntimeError("The following operation failed in the TorchScript interpreter.\nbuiltins.ValueError: two, please"),
            "two, please",
        ),
        (
            RuntimeError("PytorchStreamReader failed reading zip archive: not a ZIP archive. " + MINIZ),
            "PytorchStreamReader failed reading zip archive: not a ZIP archive",
        ),
        (
            RuntimeError("[enforce fail at inline_container.cc:180] . file in archive is not in a subdirectory: a.npy"),
            "file in archive is not in a subdirectory: a.npy",
        ),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
            "DefaultCPUAllocator: can't allocate memory",
        ),
        (RuntimeError(WEIGHTS_ONLY), "Unsupported operand 147"),
        (RuntimeError(GLOBAL), "Unsupported global: GLOBAL argparse.Namespace was not an allowed global by default"),
        (
            RuntimeError(ITK + "ITK ERROR: ITK only supports orthonormal direction cosines."),
            "ITK only supports orthonormal direction cosines",
        ),
        (
            RuntimeError(
                ITK + "ITK ERROR: MetaImageIO(0x558a): File cannot be read: t.mha for reading.\nReason: No such file"
            ),
            "File cannot be read: t.mha for reading. Reason: No such file",
        ),
        (
            RuntimeError(ITK + 'sitk::ERROR: Unable to determine ImageIO reader for "x"'),
            'Unable to determine ImageIO reader for "x"',
        ),
        (RuntimeError(ITK + NRRD), "type (float) and encoding (gzip) require endian info"),
        (RuntimeError(CUDA), "CUDA error: device-side assert triggered"),
        (
            RuntimeError(DYNAMO),
            "backend='inductor' raised: InvalidCxxCompiler: No working C++ compiler found in config.cpp.cxx: (None, 'g++')",
        ),
        (RuntimeError(OPERATOR), "Unknown builtin op: torchvision::nms"),
        (RuntimeError(STATE), 'Error(s) in loading state_dict for UNet: Missing key(s) in state_dict: "c.bias"'),
        (
            RuntimeError(EINOPS),
            'Error while processing rearrange-reduction pattern "(a b) c -> a b c": Shape mismatch, cannot divide 5 by 2',
        ),
        (RuntimeError(STACK), "Expected all tensors to be on the same device"),
        (
            OSError("Expected 2048 bytes, got 248 bytes from x.nii\n - could the file be damaged?"),
            "Expected 2048 bytes, got 248 bytes from x.nii",
        ),
        (ValueError("feature_size should be divisible by 12."), "feature_size should be divisible by 12"),
        (KeyError("weight"), "KeyError: 'weight'"),
        (EOFError(), "the data end too early"),
        (AssertionError(), "AssertionError"),
        (NotImplementedError("\n \n"), "NotImplementedError"),
    ],
)
def test_the_line_that_tells_most(error: Exception, told: str) -> None:
    assert detail_of(error) == told


class Settings(BaseModel):
    steps: int


def scripted(inputs: torch.Tensor) -> None:
    program = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Conv3d(2, 3, 3)), program)
    program.seek(0)
    torch.jit.load(program)(inputs)


def written(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda x: scripted(torch.zeros(1, 1, 4, 4, 4)), "to have 2 channels, but got 1 channels"),
        (lambda x: torch.jit.load(written(x, b"none")), "PytorchStreamReader"),
        (lambda x: torch.load(written(x, b"\x93NUMPY"), weights_only=True), "Unsupported operand"),
        (lambda x: safetensors.torch.load_file(written(x, b"none")), "header too small"),
        (lambda x: SimpleITK.ReadImage(written(x.with_suffix(".nii"), b"none")), "Unable to determine ImageIO reader"),
        (lambda x: nibabel.load(written(x.with_suffix(".nii.gz"), b"none")), "is not a gzip file"),
        (lambda x: json.loads('{"a" 1}'), "line 1 column 6"),
        (lambda x: Settings(steps="many"), "steps: it must be a whole number"),
    ],
)
def test_what_libraries_really_say(call: Any, word: str, tmp_path: Path) -> None:
    with pytest.raises(Exception) as caught:  # noqa: B017, PT011
        call(tmp_path / "x")
    assert word in detail_of(caught.value)


@given(st.text(max_size=2000))
def test_any_text_becomes_one_short_line(text: str) -> None:
    told = detail_of(ValueError(text))
    assert told.strip() and len(told.splitlines()) == 1 and len(told) <= 220


KINDS = "'zscore', 'rescale', 'window', 'squash', 'fixed', 'chain'"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"kind": "zscor"}, f"normalization: the kind must be one of {KINDS}."),
        ({"mask": "all"}, f"normalization: its kind is missing; it must be one of {KINDS}."),
        (
            {"kind": "zscore", "masks": 1},
            "there is no setting preprocessing.normalization.zscore.masks; there are kind, mask, background.",
        ),
        (
            {"kind": "zscore", "mask": "brain"},
            "zscore.mask: it must be 'all', 'positive', 'nonzero', 'above_mean' or 'filled' (given: 'brain').",
        ),
        (
            [{"kind": "zscore"}, {"kind": "window", "std": 0}],
            "normalization.1.window.std: it must be above 0 (given: 0).",
        ),
        ({"kind": "rescale", "low": 9, "high": 1}, "the low percentile (9.0) must be below the high one (1.0)."),
        ("zscore", "normalization: it must be an object in braces, or a list (given: 'zscore')."),
    ],
)
def test_a_wrong_normalization_is_told_with_what_would_be_right(settings: Any, told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ModelSettings(preprocessing={"normalization": settings})
    assert first_problem(caught.value, ModelSettings).endswith(told)


def test_a_misspelt_name_is_told_before_the_one_that_it_leaves_missing() -> None:
    with pytest.raises(ValidationError) as caught:
        ModelSettings(network={"nam": "UNet"})
    known = "name, arguments, imported, copies"
    assert first_problem(caught.value, ModelSettings) == f"there is no setting network.nam; there are {known}."
    assert first_problem(caught.value) == "there is no setting network.nam."
    with pytest.raises(ValidationError) as caught:
        ModelSettings(network={})
    assert first_problem(caught.value, ModelSettings) == "network.name: it is missing."


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"threshold": 2}, "threshold: it must be below 1 (given: 2)."),
        ({"overlap": -0.1}, "overlap: it must be 0 or more (given: -0.1)."),
        ({"size_multiple": 1.5}, "size_multiple: it must be a whole number (given: 1.5)."),
        ({"head": "tanh"}, "head: it must be 'softmax' or 'sigmoid' (given: 'tanh')."),
        ({"preprocessing": {"size": [1, 2, 3, 4]}}, "preprocessing.size: it must hold 3 or fewer; it holds 4."),
        (
            {"acceleration": {"mixed_precision": "int8"}},
            "acceleration.mixed_precision: it must be true or false, or 'auto', 'tf32', 'float16' or 'bfloat16' "
            "(given: 'int8').",
        ),
    ],
)
def test_a_wrong_value_is_told_in_words_and_with_all_that_is_right(settings: Any, told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ModelSettings(**settings)
    assert first_problem(caught.value, ModelSettings) == told


def test_a_name_that_begins_the_complaint_is_told_once() -> None:
    with pytest.raises(InputError, match="^FGSM: region must be a mask array"):
        FGSM(region=5)  # type: ignore[arg-type]
