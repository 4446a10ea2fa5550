"""Several networks as one: the mean of their probabilities and its gradient, from Python and from a file that names them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import tiny_network, toy_case

from SegAdversarialLib import InputError, SegmentationModel, attacks, ensemble, open_model
from SegAdversarialLib.cli import main
from SegAdversarialLib.formats import describe_file
from SegAdversarialLib.formats.monai_network import architecture
from SegAdversarialLib.formats.settings import NetworkSettings

CHANNELS, CLASSES = ("A", "B"), {0: "background", 1: "core", 2: "rim"}
REGIONS = {5: "core", 6: "rim", 7: "all"}
Head = Literal["softmax", "sigmoid"]


def probabilities(logits: np.ndarray, head: str = "softmax") -> np.ndarray:
    """(N, K, J, I) of logits, as a textbook has them."""
    if head == "sigmoid":
        return 1 / (1 + np.exp(-logits.astype(np.float64)))
    raised = np.exp(logits.astype(np.float64) - logits.max(0))
    return raised / raised.sum(0)


def member(seed: int, head: Head = "softmax", **settings: Any) -> SegmentationModel:
    network = torch.nn.Sequential(Scaled(0.01), tiny_network(seed=seed))
    settings = {"channels": CHANNELS, "classes": CLASSES if head == "softmax" else REGIONS, "head": head} | settings
    return SegmentationModel.from_network(network, name=f"member-{seed}", **settings)


class Scaled(torch.nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_the_gradient_is_that_of_the_mean_probability(head: Head) -> None:
    models, case = [member(seed, head) for seed in (0, 1, 2)], toy_case((6, 7, 8))
    whole = ensemble(models)
    expected = np.mean([probabilities(x.logits(case), head) for x in models], 0)
    np.testing.assert_allclose(probabilities(whole.logits(case), head), expected, rtol=1e-9)
    image = torch.from_numpy(case.image).double()[None]
    one, other = image.clone().requires_grad_(True), image.clone().requires_grad_(True)
    turned = torch.sigmoid if head == "sigmoid" else lambda x: torch.softmax(x, 1)
    weights = torch.randn(1, 3, 6, 7, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (turned(whole.network(one)) * weights).sum().backward()
    (torch.stack([turned(x.network(other)) for x in models]).mean(0) * weights).sum().backward()
    assert one.grad is not None and bool((other.grad != 0).all())
    torch.testing.assert_close(one.grad, other.grad, rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_saturated_members_stay_finite(head: Head) -> None:
    """Where each is as good as certain, the mean of probabilities that single precision cannot tell from 0 has a logarithm."""

    class Certain(torch.nn.Module):
        def __init__(self, sign: float) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(sign))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([x, -x, x * 0], 1) * self.scale

    classes = CLASSES if head == "softmax" else REGIONS
    both = [
        SegmentationModel.from_network(Certain(s), channels=["A"], classes=classes, head=head, outputs="logits", name=f"{s}")
        for s in (300.0, 200.0)
    ]
    x = torch.ones(1, 1, 2, 2, 2, requires_grad=True)
    logits = ensemble(both).network(x)
    logits.sum().backward()
    assert logits.isfinite().all() and x.grad is not None and x.grad.isfinite().all()
    if head == "sigmoid":  # log p of the mean is that of the less certain, less log 2
        torch.testing.assert_close(logits[0, :2, 0, 0, 0], torch.tensor([200.0, -200.0]) + torch.tensor([1, -1]) * np.log(2.0))


class Said(torch.nn.Module):
    """A network that gives probabilities, overwrites its input, and hands out a shallow head beside its answer."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        answer = torch.softmax(self.network(x), 1)
        x.mul_(0)
        return {"shallow": answer.flip(1), "out": answer}


def test_each_member_is_examined_by_itself() -> None:
    plain, case = [member(seed) for seed in (0, 1)], toy_case((6, 7, 8))
    before = case.image.copy()
    strange = SegmentationModel.from_network(Said(plain[1].network), channels=CHANNELS, classes=CLASSES, name="strange")
    mixed = ensemble([plain[0], strange])
    np.testing.assert_allclose(mixed.logits(case), ensemble(plain).logits(case), rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(case.image, before)
    found = mixed.describe()["members"]
    assert (
        [x["outputs"] for x in found] == ["logits", "probabilities"] and found[1]["output"] == "out" and found[1]["in_place"]
    )


def test_channels_and_classes_in_another_order() -> None:
    first, second, case = member(0), member(1), toy_case((6, 7, 8))
    reordered = torch.nn.Sequential(Picked([1, 0]), second.network, Picked([2, 0, 1]))
    settings: dict[str, Any] = {"channels": ["b", "A"], "classes": {2: "rim", 0: "background", 1: "core"}}
    other = SegmentationModel.from_network(reordered, name="other", **settings)
    np.testing.assert_allclose(ensemble([first, other]).logits(case), ensemble([first, second]).logits(case), rtol=1e-12)


class Picked(torch.nn.Module):
    def __init__(self, order: list[int]) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, self.order]


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"channels": ("A", "C")}, "channels.*a, b and a, c"),
        ({"classes": {0: "background", 1: "core", 3: "rim"}}, "classes"),
        ({"regions": {1: [1, 2]}}, "classes"),
        ({"head": "sigmoid", "classes": REGIONS}, "head.*softmax and sigmoid"),
        ({"window": (8, 8, 8)}, "window"),
        ({"overlap": 0.25}, "overlap"),
        ({"size_multiple": 2}, "size multiple"),
    ],
)
def test_members_that_differ_are_named(settings: dict[str, Any], what: str) -> None:
    with pytest.raises(InputError, match=f"members member-0 and member-2 .*agree in their {what}"):
        ensemble([member(0), member(1), member(2, **settings)])
    with pytest.raises(InputError, match="at least two"):
        ensemble([member(0)])


ARGUMENTS: dict[str, Any] = {"in_channels": 2, "out_channels": 3, "features": 2}


def files(folder: Path) -> Path:
    """Three members, one of them in a folder of its own, and the file that names them."""
    (folder / "c").mkdir()
    named = {"a.json": "LiuUNet3D", "b.json": "ChengCascadedUNet", "c/model.json": "LiuUNet3D"}
    for seed, (name, kind) in enumerate(named.items()):
        torch.manual_seed(seed)
        network = {"name": kind, "arguments": ARGUMENTS | ({"levels": 2} if kind == "ChengCascadedUNet" else {})}
        path = folder / name
        made = architecture(NetworkSettings(**network))
        safetensors.torch.save_file(made.state_dict(), str(path.with_suffix(".safetensors")))
        path.write_text(json.dumps({"channels": CHANNELS, "classes": CLASSES, "network": network}))
    whole = folder / "whole.json"
    whole.write_text(json.dumps({"members": list(named), "window": [16, 16, 16], "description": "three"}))
    return whole


def test_opened_from_a_file_it_is_the_mean_of_its_members(tmp_path: Path) -> None:
    whole, case = files(tmp_path), toy_case((12, 16, 16))
    names = json.loads(whole.read_text())["members"]
    known = describe_file(whole)
    assert known.members == tuple(names) and known.window == (16, 16, 16) and not known.needs_trust and len(known.files) == 7
    assert known.size_bytes == sum(x.stat().st_size for x in tmp_path.rglob("*.safetensors"))
    expected = np.mean([probabilities(open_model(tmp_path / x, window=[16, 16, 16]).logits(case)) for x in names], 0)
    for path in (whole, tmp_path):
        model = open_model(path, device="cpu")
        np.testing.assert_allclose(probabilities(model.logits(case)), expected, rtol=1e-4, atol=1e-6)
    assert [x["name"] for x in model.describe()["members"]] == names
    attacked = attacks.PGD(steps=2, epsilon=0.05)(model, case)
    assert np.abs(attacked.adversarial.image - case.image).max() > 0


def test_the_command_tells_of_an_ensemble(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All that its members are, and all files; where one of them is a program, what can be told without running it."""
    whole = files(tmp_path)
    names = json.loads(whole.read_text())["members"]
    assert main(["info", str(whole), "--device", "cpu", "--events"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [x["name"] for x in told["members"]] == names and told["channels"] == list(CHANNELS)
    assert [x["label"] for x in told["classes"]] == list(CLASSES) and told["window"] == [16, 16, 16]
    assert len(told["files"]) == 7 and told["bytes"] == sum(x.stat().st_size for x in tmp_path.rglob("*.safetensors"))
    assert told["description"] == "three"
    assert main(["info", str(tmp_path), "--device", "cpu"]) == 0  # the folder's one network is the ensemble
    said = capsys.readouterr().out
    assert all(f"name {name}, " in said for name in names)
    scripted(tmp_path)
    assert main(["info", str(whole), "--device", "cpu", "--events"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["members"] == ["a.json", "p.ts"] and "--trust" in told["trust"]


def changed(folder: Path, name: str, **settings: Any) -> None:
    data = json.loads((folder / name).read_text()) | settings
    (folder / name).write_text(json.dumps(data))


def scripted(folder: Path) -> None:
    torch.jit.script(tiny_network().float()).save(str(folder / "p.ts"))
    (folder / "p.json").write_text(json.dumps({"channels": CHANNELS, "classes": CLASSES}))
    changed(folder, "whole.json", members=["a.json", "p.ts"])


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda x: changed(x, "whole.json", members=["a.json", "whole.json"]), "whole.json is a member of itself"),
        (lambda x: changed(x, "whole.json", members=["a.json"]), "members"),
        (lambda x: changed(x, "whole.json", members=["a.json", "d.json"]), "no network file .*d.json"),
        (lambda x: changed(x, "whole.json", weights="a.safetensors"), "no weights of its own"),
        (lambda x: changed(x, "whole.json", format="torchscript"), "format torchscript"),
        (lambda x: changed(x, "b.json", channels=["A", "C"]), "members a.json and b.json .*channels"),
        (lambda x: shutil.rmtree(x / "c"), "no network file .*model.json"),
        (scripted, "p.ts is a TorchScript file.*trust"),
    ],
)
def test_wrong_files_get_one_sentence(spoil: Callable[[Path], None], what: str, tmp_path: Path) -> None:
    whole = files(tmp_path)
    spoil(tmp_path)
    with pytest.raises(InputError, match=what):
        open_model(whole, device="cpu")


def test_a_program_among_the_members_asks_for_trust(tmp_path: Path) -> None:
    whole = files(tmp_path)
    scripted(tmp_path)
    assert describe_file(whole).needs_trust
    assert len(open_model(whole, trust=True, device="cpu").members) == 2


@pytest.mark.parametrize("kind", ["mean of logits", "softmax", "sigmoid"])
@pytest.mark.parametrize("scripted", [False, True])
def test_the_graphs_of_members_are_kept_one_after_another_where_they_are_large(
    kind: str, scripted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradient is that of plain autograd through all members at once; no more than one of them has a graph at a time."""
    from SegAdversarialLib.model import averaging
    from SegAdversarialLib.model.network_outputs import NetworkOutputs
    from SegAdversarialLib.model.treatment import Treatment

    torch.manual_seed(0)
    members: list[Any] = []
    for _ in range(3):
        layers = torch.nn.Sequential(torch.nn.Conv3d(1, 4, 3, padding=1), torch.nn.Tanh(), torch.nn.Conv3d(4, 2, 1)).double()
        members.append(torch.jit.script(layers.eval()) if scripted else layers.eval())
    batch = torch.randn(2, 1, 6, 5, 4, dtype=torch.float64, requires_grad=True)
    logits = torch.stack([x(batch) for x in members])
    if kind == "mean of logits":
        whole: torch.nn.Module = averaging.MeanLogits(members)
        expected = logits.mean(0)
    else:
        treated = Treatment(NetworkOutputs(2, kind), False, False, ())  # type: ignore[arg-type]
        places = [averaging.Place(treated, (0,), (0, 1), torch.float64)] * 3
        whole = averaging.Ensemble(members, places, kind)  # type: ignore[arg-type]
        mean = (logits.softmax(2) if kind == "softmax" else logits.sigmoid()).mean(0)
        expected = mean.log() if kind == "softmax" else mean.logit()
    upstream = torch.randn_like(expected)
    (wanted,) = torch.autograd.grad(expected, batch, upstream)
    monkeypatch.setattr(averaging, "TOGETHER", 0)
    answer = whole(batch)
    torch.testing.assert_close(answer, expected)
    kept: list[tuple[int, ...]] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: (kept.append(tuple(x.shape)), x)[1], lambda x: x):
        answer = whole(batch)
    assert (2, 1, 6, 5, 4) in kept and (2, 4, 6, 5, 4) not in kept  # what goes in, and nothing from within
    (found,) = torch.autograd.grad(answer, batch, upstream)
    torch.testing.assert_close(found, wanted)
