"""Which of several outputs counts, and probabilities turned back into logits."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_network, toy_case
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.networks.nets import BasicUNetPlusPlus, DynUNet, SegResNetVAE
from torch import nn

from SegAdversarialLib import Case, InputError, Preprocessing, SegmentationModel, attacks, evaluate, objectives
from SegAdversarialLib.cli import main
from SegAdversarialLib.model.network_outputs import logits_of


class Ends(nn.Module):
    """A tiny network, and what is made of its logits at the end."""

    def __init__(self, end: Callable[[torch.Tensor], Any], dimensions: int = 3, outputs: int = 3) -> None:
        super().__init__()
        self.network, self.end = tiny_network(outputs=outputs, dimensions=dimensions).float(), end

    def forward(self, x: torch.Tensor) -> Any:
        return self.end(self.network(x / 100))


def model_of(network: nn.Module, **changes: Any) -> SegmentationModel:
    how = {"channels": ("A", "B"), "classes": ["background", "core", "rim"], **changes}
    return SegmentationModel.from_network(network, **how)


def same(x: torch.Tensor) -> torch.Tensor:
    return x


SEVERAL: dict[str, tuple[Callable[[torch.Tensor], Any], int | str, int]] = {
    # what is handed out; the key of one; how that differs from the network's own logits (a factor)
    "list": (lambda x: [3 * x, 2 * x, x], 1, 2),
    "tuple from the end": (lambda x: (3 * x, 2 * x), -2, 3),
    "names": (lambda x: {"coarse": 3 * x, "fine": 2 * x}, "fine", 2),
    "one tensor": (lambda x: torch.stack([3 * x, 2 * x], 1), 1, 2),
}


@pytest.mark.parametrize("kind", SEVERAL)
def test_several_outputs_of_full_size_need_a_word(kind: str) -> None:
    end, key, factor = SEVERAL[kind]
    case = toy_case()
    with pytest.raises(InputError, match="outputs of full size.*not known which") as caught:
        model_of(Ends(end)).segment(case)
    assert "\n" not in str(caught.value)
    for window in (None, (8, 8, 8)):
        model = model_of(Ends(end), output=key, window=window)
        expected = factor * model_of(Ends(same), window=window).logits(case)
        np.testing.assert_allclose(model.logits(case), expected, rtol=1e-5, atol=1e-6)
        assert model.describe()["output"] == key
    with pytest.raises(InputError, match="no output 9; it gives [23]: "):
        model_of(Ends(end), output=9).examine()


@pytest.mark.parametrize("end", [same, lambda x: [x]])
@pytest.mark.parametrize("key", [1, 3, -2, "logits", "3"])
def test_a_single_output_is_at_no_other_place(end: Callable[[torch.Tensor], Any], key: int | str) -> None:
    with pytest.raises(InputError, match=f"no output {key}; it gives a single one"):
        model_of(Ends(end), output=key).segment(toy_case())


@pytest.mark.parametrize(
    ("handed", "told"), [(None, "nothing"), ((), "[(][)]"), (np.zeros((1, 3, 4, 4, 4)), "an array of the shape")]
)
def test_what_holds_no_tensor_is_told_in_words(handed: Any, told: str) -> None:
    with pytest.raises(InputError, match=f"The network gives {told}.*, without a tensor in it; it must give logits"):
        model_of(Ends(lambda x: handed)).segment(toy_case())


@pytest.mark.parametrize("key", [0, -1, "0"])
def test_the_place_of_a_single_output_may_be_said(key: int | str) -> None:
    case = toy_case()
    np.testing.assert_array_equal(model_of(Ends(same), output=key).logits(case), model_of(Ends(same)).logits(case))


@pytest.mark.parametrize(
    ("end", "key"),
    [
        (lambda x: [x, x[..., ::2], x[..., ::4]], 0),
        (lambda x: (x[..., ::2], x), 1),
        (lambda x: (x, None, torch.zeros(1)), 0),
        (lambda x: {"low": x[..., ::2], "high": x}, "high"),
        (lambda x: {"aux": 2 * x, "out": x}, "out"),
        (lambda x: [x], 0),
    ],
)
def test_the_one_that_can_be_meant_is_taken(end: Callable[[torch.Tensor], Any], key: int | str) -> None:
    case = toy_case((8, 8, 8))
    model = model_of(Ends(end))
    np.testing.assert_array_equal(model.logits(case), model_of(Ends(same)).logits(case))
    assert model.describe()["output"] == key


@pytest.mark.parametrize("form", ["plain", "traced"])
def test_the_last_head_of_monais_unet_plus_plus(form: str, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    network = BasicUNetPlusPlus(3, 1, 2, features=(4, 4, 8, 8, 8, 4), deep_supervision=True).eval()
    x = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        expected = network(x)[-1][0].numpy()
    asked = torch.jit.trace(network, x, check_trace=False) if form == "traced" else network
    model = SegmentationModel.from_network(asked, channels=("A",), classes=["a", "b"])
    case = Case(x[0].numpy(), ("A",), np.eye(4))
    np.testing.assert_allclose(model.logits(case), expected, rtol=1e-4, atol=1e-5)
    assert model.describe()["output"] == 3 and caplog.text.count("output: 3") == 1


def test_monais_other_networks_with_several_outputs() -> None:
    torch.manual_seed(0)
    how: dict[str, Any] = {"spatial_dims": 3, "in_channels": 2, "out_channels": 3}
    deep = DynUNet(
        **how,
        kernel_size=[3, 3, 3],
        strides=[1, 2, 2],
        upsample_kernel_size=[2, 2],
        filters=[4, 8, 8],
        deep_supervision=True,
        deep_supr_num=1,
    ).eval()
    vae = SegResNetVAE((16, 16, 16), init_filters=8, in_channels=2, out_channels=3).eval()
    case = toy_case((16, 16, 16))
    x = torch.from_numpy(case.image)[None]
    with torch.no_grad():
        expected = {deep: deep(x), vae: vae(x)[0]}
    for network, logits in expected.items():
        np.testing.assert_allclose(model_of(network).logits(case), logits[0].numpy(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("axes", ["kji", "ji"])
@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
@pytest.mark.parametrize("window", [None, (8, 8, 8)])
def test_a_network_that_ends_in_probabilities(
    head: str, axes: str, window: tuple[int, ...] | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Segmentation, values and gradients are those of the same network without its last step."""
    case = toy_case()
    how: dict[str, Any] = {"head": head, "preprocessing": Preprocessing(axes=axes), "window": window and window[: len(axes)]}
    if head == "sigmoid":
        how["classes"] = {1: "core", 2: "rim", 3: "third"}
    end = torch.sigmoid if head == "sigmoid" else lambda x: x.softmax(1)
    logits = model_of(Ends(same, len(axes)), **how)
    model = model_of(Ends(end, len(axes)), **how)
    assert model.describe()["outputs"] == "probabilities" and logits.describe()["outputs"] == "logits"
    assert caplog.text.count("outputs: probabilities") == 1
    np.testing.assert_array_equal(model.predict(case).masks, logits.predict(case).masks)
    if head == "sigmoid":
        np.testing.assert_allclose(model.logits(case), logits.logits(case), rtol=1e-3, atol=1e-4)
    loss = objectives.CrossEntropy(case.label)
    value, gradient = logits.value_and_gradient(case, loss)
    found = model.value_and_gradient(case, loss)
    assert found[0] == pytest.approx(value, rel=1e-5)
    assert np.linalg.norm(found[1] - gradient) <= 1e-4 * np.linalg.norm(gradient)


def test_a_sigmoid_inside_does_not_look_robust() -> None:
    """Half of the voxels lie above 0: so many are claimed, and an attack lowers the Dice from 1."""

    class Network(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sigmoid(x / 10)

    image = np.random.default_rng(1).normal(0, 50, (1, 12, 12, 12)).astype(np.float32)
    case = Case(image, ("A",), np.eye(4), (image[0] > 0).astype(np.int16))
    model = SegmentationModel.from_network(Network(), channels=("A",), classes={1: "lesion"}, head="sigmoid")
    np.testing.assert_array_equal(model.segment(case), case.label)
    dice = evaluate(attacks.PGD(epsilon=0.05, steps=3)(model, case), model).get("lesion", "Dice")
    assert dice["before"] == 1.0 and dice["after"] < 0.95


@settings(max_examples=100, deadline=None)
@given(
    logit=st.floats(-80, 16),
    head=st.sampled_from(["sigmoid", "softmax"]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_logits_come_back_with_their_gradient(logit: float, head: Any, dtype: torch.dtype) -> None:
    """As far as p and 1 - p can be told from 0, the inverse gives the logit, and the derivative of both together is 1."""
    x = torch.tensor([[logit], [0.0]], dtype=dtype, requires_grad=True)[None]
    x = x[:, :1] if head == "sigmoid" else x
    p = torch.sigmoid(x) if head == "sigmoid" else x.softmax(1)
    back = logits_of(p, head)
    found = back[0, 0, 0] if head == "sigmoid" else back[0, 0, 0] - back[0, 1, 0]
    (slope,) = torch.autograd.grad(found, x)
    lost = torch.finfo(dtype).eps * np.exp(max(logit, 0))  # what is left of 1 - p
    assert float(found.detach()) == pytest.approx(logit, rel=1e-5, abs=1e-5 + 2 * lost if head == "sigmoid" else 1e-5)
    assert float(slope.flatten()[0]) == pytest.approx(1.0, rel=1e-4 + 4 * lost)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("head", ["sigmoid", "softmax"])
def test_saturated_probabilities_stay_finite(head: Any, dtype: torch.dtype) -> None:
    """Logits of 1000 say 0 and 1 exactly: what comes back is finite, in the right order, and so is every gradient."""
    x = torch.tensor([-1000.0, -30.0, -1.0, 1.0, 30.0, 1000.0]).to(dtype).requires_grad_(True)
    p = torch.sigmoid(x)[None, None] if head == "sigmoid" else torch.stack([x, -x])[None].softmax(1)
    back = logits_of(p, head)
    margin = back[0, 0] if head == "sigmoid" else back[0, 0] - back[0, 1]
    assert back.isfinite().all() and (margin.diff() >= 0).all()
    assert (margin > 0).tolist() == [False] * 3 + [True] * 3
    (gradient,) = torch.autograd.grad(margin.sum(), x)
    assert gradient.isfinite().all() and (gradient >= 0).all() and (gradient[2:4] > 0.5).all()


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (lambda x: (x > 0).float(), "a threshold"),
        (lambda x: 0 * x + 0.5, "always the same"),
        (lambda x: 1.5 * x.sigmoid(), "above 1"),
        (lambda x: x.sigmoid() - 0.1, "below 0"),
    ],
)
def test_what_is_no_probability_is_left_alone(end: Callable[[torch.Tensor], Any], why: str) -> None:
    assert model_of(Ends(end)).describe()["outputs"] == "logits", why


def test_what_the_user_says_stands() -> None:
    case = toy_case((8, 8, 8))
    said = model_of(Ends(torch.sigmoid), outputs="logits")
    found = said.logits(case)
    assert found.min() >= 0 and said.describe()["outputs"] == "logits" and said.describe()["found"] == []
    told = model_of(Ends(torch.sigmoid), outputs="probabilities")
    np.testing.assert_allclose(np.exp(told.logits(case)), found, rtol=1e-5)
    assert told.describe()["found"] == []
    with pytest.raises(InputError, match="said to give probabilities, but its outputs reach from"):
        model_of(Ends(same), outputs="probabilities").examine()


def test_the_command_line_says_what_a_network_is_like(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.ts"
    torch.jit.script(tiny_network().float()).save(str(path))
    described = ("--model-channels", "A,B", "--classes", "0=background,1=core,2=rim")

    def told(*words: str) -> str:
        main(["info", str(path), "--trust", "--device", "cpu", *described, *words])
        return "".join(capsys.readouterr())

    assert re.search("in_place: +true", told("--in-place")) and re.search("in_place: +false", told("--no-in-place"))
    assert re.search("allow_random: +true", told("--allow-random")) and re.search("outputs: +logits", told())
    assert "is said to give probabilities" in told("--model-outputs", "probabilities")
    assert re.search("output: +-1\n", told("--model-output", "-1"))
    assert "has no output seg" in told("--model-output", "seg")
