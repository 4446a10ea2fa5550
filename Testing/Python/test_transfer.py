"""Attacks made on one network and measured on another: linear networks whose answers can be worked out, settings, files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_network, toy_case
from test_attacks import assert_within_budget, toy_model

from SegAdversarialLib import Case, InputError, SegmentationModel, attacks, evaluate, formats, open_model, phantom
from SegAdversarialLib.attacks import Transfer, make_attack
from SegAdversarialLib.cli import main
from SegAdversarialLib.errors import Cancelled
from SegAdversarialLib.formats.model_cache import ModelCache
from SegAdversarialLib.formats.source import open_source
from SegAdversarialLib.jobs import make_job, run
from SegAdversarialLib.jobs.opening import open_case
from SegAdversarialLib.jobs.specification import ModelSource


class Mixed(torch.nn.Module):
    """The structure's logit is a weighted sum of the channels, small enough that no softmax saturates."""

    def __init__(self, weights: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor(weights).view(1, -1, 1, 1, 1))

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        score = (batch * self.weights).sum(1, keepdim=True) / 100
        return torch.cat([torch.zeros_like(score), score], 1)


def mixed(*weights: float, channels: tuple[str, ...] = ("A", "B"), name: str = "network") -> SegmentationModel:
    classes = ["background", "core"]
    return SegmentationModel.from_network(Mixed(weights), channels=channels, classes=classes, name=name)


def ones_case(channels: tuple[str, ...] = ("A", "B")) -> Case:
    image = np.random.default_rng(0).uniform(50, 100, (len(channels), 5, 6, 7)).astype(np.float32)
    return Case(image, channels, np.eye(4), np.ones((5, 6, 7), np.int16), name="ones")


def other_model() -> SegmentationModel:
    return SegmentationModel.from_network(
        tiny_network(2, seed=5).float(), channels=("A", "B"), classes=["background", "core", "rim"], name="other"
    )


def script(folder: Path, name: str = "source") -> str:
    """A TorchScript file with its settings."""
    path = folder / f"{name}.ts"
    torch.jit.script(tiny_network(2, seed=5).float()).save(str(path))
    settings = {"channels": ["A", "B"], "classes": ["background", "core", "rim"]}
    path.with_suffix(".json").write_text(json.dumps(settings))
    return str(path)


def tumour_script(folder: Path) -> str:
    """A TorchScript network for the phantom that sees two of its channels."""
    path = folder / "source.ts"
    torch.jit.script(tiny_network(2, 4).float()).save(str(path))
    classes = {0: "background", 1: "NCR", 2: "edema", 4: "enhancing"}
    path.with_suffix(".json").write_text(json.dumps({"channels": ["T1", "FLAIR"], "classes": classes}))
    return str(path)


def test_the_sources_gradient_and_the_targets_answer() -> None:
    """FGSM on 3A - B lowers A and raises B by epsilon: the target, 2A + B, falls by exactly (2 - 1) epsilon / 100."""
    source, target, case = mixed(3.0, -1.0), mixed(2.0, 1.0, name="target"), ones_case()
    attack = Transfer(source=source, method="fgsm", epsilon=4, epsilon_units="absolute", clip=False)
    result = attack(target, case)
    np.testing.assert_allclose(result.perturbation.additive[0], -4, atol=1e-4)
    np.testing.assert_allclose(result.perturbation.additive[1], 4, atol=1e-4)
    fall = target.logits(case)[1] - target.logits(result.adversarial)[1]
    np.testing.assert_allclose(fall, 0.04, atol=1e-5)
    direct = attacks.FGSM(epsilon=4, epsilon_units="absolute", clip=False)(target, case)
    np.testing.assert_allclose(target.logits(case)[1] - target.logits(direct.adversarial)[1], 0.12, atol=1e-5)
    assert result.model == "target" and result.attack is attack


def test_it_is_the_attack_on_the_source() -> None:
    case, source, target = toy_case(), other_model(), toy_model()
    plain = attacks.PGD(steps=4, restarts=2, epsilon=0.1, seed=3, snapshot_every=2)
    method = {"attack": "pgd", "steps": 4, "restarts": 2, "snapshot_every": 2}
    attack = Transfer(source=source, method=method, epsilon=0.1, seed=3)
    expected, result = plain(source, case), attack(target, case)
    np.testing.assert_array_equal(result.adversarial.image, expected.adversarial.image)
    assert result.trace == expected.trace and result.restart == expected.restart
    assert (result.gradient_evaluations, result.forward_evaluations) == (8, 2)
    assert [x.iteration for x in result.snapshots] == [0, 2, 4]
    np.testing.assert_array_equal(attack(target, case).adversarial.image, result.adversarial.image)
    # what the target says is for evaluate
    said = evaluate(result, target)
    np.testing.assert_array_equal(said.attacked, target.segment(result.adversarial))
    white_box = evaluate(plain(target, case), target)
    assert white_box.get("core", "Dice")["after"] < said.get("core", "Dice")["after"]


def test_part_of_other_attacks() -> None:
    """The image alone, as an attack that is made of others asks for it, is the same."""

    case, target = toy_case(), toy_model()
    attack = Transfer(source=other_model(), method="fgsm", epsilon=0.1)
    with attack.running(target, case) as state:
        found = attack._search(state).numpy()
    np.testing.assert_array_equal(found, attack(target, case).adversarial.image)


@pytest.mark.parametrize(
    "settings",
    [
        {"epsilon": 0.1},
        {"epsilon": 12, "epsilon_units": "absolute", "clip": False},
        {"epsilon": 3, "method": {"attack": "pgd", "norm": "l2", "steps": 2}},
        {"epsilon": 0.1, "quantize": True},
        {"epsilon": 0.1, "method": {"attack": "square", "queries": 20}},
        {"epsilon": 0.1, "method": "tifgsm"},
    ],
    ids=str,
)
def test_budget_channels_and_region(settings: dict[str, Any]) -> None:
    case, target = toy_case(), toy_model()
    region = np.zeros(case.shape, bool)
    region[3:9, 4:12, 5:15] = True
    attack = Transfer(source=other_model(), channels="B", region=region, **settings)
    result = attack(target, case)
    assert attack.bounded_norm == attack.attack.bounded_norm and attack.budget == settings["epsilon"]
    assert_within_budget(attack, case, result.perturbation.additive)
    assert result.perturbation.additive[1][region].any()
    np.testing.assert_array_equal(result.adversarial.image[0], case.image[0])
    np.testing.assert_array_equal(result.adversarial.image[1][~region], case.image[1][~region])
    if attack.quantize:
        np.testing.assert_array_equal(result.adversarial.image, np.rint(result.adversarial.image))


def test_all_ways_to_name_the_attack_are_one() -> None:
    settings = {"attack": "ifgsm", "steps": 4}
    given = [
        {"method": settings, "epsilon": 0.1, "channels": ("A",)},
        {"method": json.dumps(settings), "epsilon": 0.1, "channels": "A"},
        {"method": {**settings, "epsilon": 0.1, "channels": ["A"]}},
        {"method": attacks.IFGSM(steps=4, epsilon=0.1), "channels": "A"},
    ]
    made = [Transfer(source="builtin:brain-tumour-phantom", **x) for x in given]
    assert all(x == made[0] for x in made)
    assert made[0].attack == attacks.IFGSM(steps=4, epsilon=0.1, channels="A")
    described = json.loads(json.dumps(made[0].describe()))
    assert described["method"]["steps"] == 4 and "epsilon" not in described["method"]
    assert make_attack(described.pop("attack"), described) == made[0]
    assert "i-FGSM on builtin:brain-tumour-phantom" in made[0].summary()
    assert Transfer(method="pgd").needs_reference
    assert not Transfer(method={"attack": "pgd", "against": "prediction"}).needs_reference
    # what an attack's own default is (scanner units, no clipping) does not slip in: it is the transfer that says it
    assert Transfer(method="inverse-fgsm").attack.epsilon == 0.02


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "nope"}, "no attack"),
        ({"method": "uniform-noise"}, "asks no network"),
        ({"method": "universal-perturbation"}, "asks no network"),
        ({"method": "generative"}, "does not keep to an epsilon"),
        ({"method": "transfer"}, "cannot be transferred"),
        ({"method": {"attack": "transfer", "source": "a.ts", "trust": True}}, "cannot be transferred"),
        ({"method": {"attack": "pgd", "trust": True}}, "no setting trust"),
        ({"method": "[" * 10**5}, "no attack"),
        ({"method": '{"a":' + "[" * 10**5}, "no JSON"),
        ({"method": {"attack": "pgd", "epsilon": 0.1}, "epsilon": 0.2}, "given twice"),
        ({"method": {"attack": "pgd", "stairs": 1}}, "no setting stairs"),
        ({"method": {"attack": "pgd", "steps": 0}}, "steps"),
        ({"method": "{no json"}, "no JSON"),
        ({"method": {"steps": 3}}, "must be an attack"),
        ({"method": 3}, "must be an attack"),
        ({"source": 3}, "source must be"),
        ({"epsilon": 3}, "between 0 and 1"),
    ],
    ids=str,
)
def test_wrong_settings_get_one_sentence(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make_attack("transfer", settings)
    assert "\n" not in str(caught.value)


def test_networks_that_take_other_channels() -> None:
    """Only what both see is changed; what does not fit is said before any work."""
    case = ones_case(("A", "B", "C"))
    both, first, third = mixed(1.0, 1.0), mixed(1.0, channels=("A",)), mixed(1.0, channels=("C",))
    result = Transfer(source=both, method="fgsm", clip=False)(first, case)
    assert result.perturbation.additive[0].all() and not result.perturbation.additive[1:].any()
    result = Transfer(source=first, method="fgsm", clip=False)(both, case)
    assert result.perturbation.additive[0].all() and not result.perturbation.additive[1:].any()
    wrong = [
        (Transfer(source=both), third, case, "shares a channel"),
        (Transfer(source=both, channels="C"), both, case, "does not take the channel"),
        (Transfer(source=first, channels="B"), both, case, "does not take the channel"),
        (Transfer(source=both, channels="B"), first, case, "does not take the channel"),
        (Transfer(source=third), first, ones_case(("A", "B")), "takes 1 channel"),
        (Transfer(), first, case, "needs the network that the attack is made on"),
        (Transfer(source="/no/such/file.ts"), first, case, "no network file"),
        (Transfer(source=both), None, case, "needs a network to measure"),
        (Transfer(source=both), both, Case(case.image, case.channels, case.affine), "no label map"),
    ]
    for attack, target, subject, message in wrong:
        with pytest.raises(InputError, match=message):
            attack(target, subject)
    three = Case(case.image, case.channels, case.affine, np.full(case.shape, 2, np.int16))
    with pytest.raises(InputError, match="none of the network's classes"):  # the source's classes
        Transfer(source=both)(toy_model(("A", "B")), three)


def test_files_are_opened_once_and_only_with_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, case, target, opened = script(tmp_path), toy_case(), toy_model(), []

    def counted(file: str, **settings: Any) -> SegmentationModel:
        opened.append(settings["device"])
        return open_model(file, **settings)

    monkeypatch.setattr(formats, "open_model", counted)
    with pytest.raises(InputError, match="if you trust its source"):
        Transfer(source=path, method="fgsm").check(target, case)
    opened.clear()
    attack = Transfer(source=path, method="fgsm", trust=True, epsilon=0.1)
    attack.check(target, case)
    result = attack(target, case)
    single = attack.model_copy(update={"channels": ("B",)})(target, case)
    assert opened == ["cpu"] and not single.perturbation.additive[0].any()
    np.testing.assert_array_equal(result.adversarial.image, attacks.FGSM(epsilon=0.1)(other_model(), case).adversarial.image)
    assert attack == Transfer(source=path, method="fgsm", trust=True, epsilon=0.1)


def test_trust_is_said_to_each_attack_and_stored_nowhere() -> None:
    attack = Transfer(source="similar.ts", trust=True)
    described = attack.describe()
    assert "trust" not in json.dumps([described, attack.model_dump(), attack.model_dump_json(), str(attack.summary())])
    again = make_attack(described.pop("attack"), described)
    assert not again.trust and again == attack.model_copy(update={"trust": False})
    assert make_attack("transfer", {**described, "trust": True}) == attack
    field = Transfer.model_json_schema()["properties"]["trust"]
    assert field["choose"] == "trust" and field["default"] is False


def test_a_network_that_the_caller_has_opened() -> None:
    """It is used in the file's place, and the configuration stays the file's."""
    case, target = toy_case(), toy_model()
    attack = Transfer(source="/no/such/similar.ts", method="fgsm", epsilon=0.1)
    opened = attack.with_source(other_model())
    plain = Transfer(source=other_model(), method="fgsm", epsilon=0.1)(target, case)
    result = opened(target, case)
    np.testing.assert_array_equal(result.adversarial.image, plain.adversarial.image)
    assert opened.describe() == attack.describe() and opened.summary() == attack.summary()
    assert result.describe()["attack"]["source"] == "/no/such/similar.ts"
    assert "FGSM on similar" in result.attack.summary()


def test_progress_and_cancel() -> None:
    seen: list[float] = []
    attack = Transfer(source=other_model(), method={"attack": "ifgsm", "steps": 4})
    attack(toy_model(), toy_case(), progress=lambda fraction, text: seen.append(fraction))
    assert seen == sorted(seen) and seen[0] == 0 and 0.2 < min(x for x in seen if x) < 0.25 and seen[-1] == 1
    with pytest.raises(Cancelled):
        attack(toy_model(), toy_case(), cancel=lambda: True)


def test_a_job_measures_it_on_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_model(tumour_script(tmp_path), trust=True, device="cpu")
    monkeypatch.chdir(tmp_path)
    small = {"phantom": {"seed": 200, "shape": [32, 32, 32]}}
    transfer = {"attack": "transfer", "source": "source.ts", "trust": True, "method": "fgsm", "epsilon": 0.05}
    job = make_job({"kind": "attack", "case": small, "model": {"device": "cpu"}, "attacks": [transfer], "output": "out"})
    assert job.anywhere().attacks[0]["source"] == str(tmp_path / "source.ts")
    run(job)
    record = json.loads((tmp_path / "out" / "transfer" / "result.json").read_text())
    assert record["model"] == "builtin:brain-tumour-phantom" and record["attack"]["source"] == "source.ts"
    changed = record["largest_change"]
    assert changed["T2"] == changed["T1ce"] == 0
    case, target = open_case(job.case), open_model("builtin:brain-tumour-phantom", device="cpu")
    made = attacks.FGSM(epsilon=0.05)(source, case)
    assert [changed["T1"], changed["FLAIR"]] == pytest.approx(made.perturbation.linf()[[0, 3]].tolist())
    dice = next(x for x in record["evaluation"] if x["structure"] == "oedema" and x["metric"] == "Dice")
    said = target.segment(made.adversarial)
    both = (said == 2).sum() + (case.label == 2).sum()
    assert dice["after"] == pytest.approx(2 * ((said == 2) & (case.label == 2)).sum() / both)


def test_several_jobs_open_the_source_once(tmp_path: Path) -> None:
    """As in a worker: the cache gives the job's network and the source, each opened once; trust belongs to each by itself."""
    path = tumour_script(tmp_path)
    opened: list[tuple[str, bool, str]] = []

    def opener(source: ModelSource) -> SegmentationModel:
        opened.append((source.path, source.trust, source.device))
        return open_source(source)

    cache = ModelCache(open_model=opener)

    def job(seed: int, **settings: Any) -> Any:
        transfer = {"attack": "transfer", "source": path, "method": "fgsm", **settings}
        case, output = {"phantom": {"seed": seed, "shape": [32, 32, 32]}}, str(tmp_path / f"out-{seed}")
        said = {"kind": "attack", "case": case, "model": {"device": "cpu"}, "attacks": [transfer], "output": output}
        return make_job(said)

    for seed in (100, 101):
        run(job(seed, trust=True), open_model=cache.get)
    assert opened == [("builtin:brain-tumour-phantom", False, "cpu"), (path, True, "cpu")]
    stored = [x.read_text() for x in tmp_path.glob("out-*/transfer/result.json")]
    assert len(stored) == 2 and not any("trust" in json.loads(x)["attack"] for x in stored)
    with pytest.raises(InputError, match="if you trust its source"):
        run(job(102), open_model=cache.get)
    assert not (tmp_path / "out-102" / "transfer").exists()


def test_trust_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trust in the network that is measured is none in the source, which has its own."""
    path = tumour_script(tmp_path)
    words = ["attack", "--phantom", "7", "--phantom-size", "32", "--device", "cpu", "--attack", "transfer"]
    words += ["--set", "method=fgsm", "--set", f"source={path}", "--output", str(tmp_path / "out")]
    assert main([*words, "--trust"]) == 2 and "if you trust its source" in capsys.readouterr().err
    assert main([*words, "--set", "trust=true"]) == 0
    record = json.loads((tmp_path / "out" / "transfer" / "result.json").read_text())
    assert record["attack"]["source"] == path and "trust" not in record["attack"]


def test_all_leaves_out_what_lacks_a_file() -> None:
    from SegAdversarialLib.cli.commands import _attacks

    names = {x["attack"] for x in _attacks(["all"], [])}
    assert names == {name for name, cls in attacks.ATTACKS.items() if not cls.needs} and "pgd" in names
    assert {"source", "perturbation"} <= {cls.needs for cls in attacks.ATTACKS.values()}
    with_source = {x["attack"] for x in _attacks(["all"], ["transfer.source=builtin:brain-tumour-phantom"])}
    assert with_source - names == {"transfer"}


def test_phantoms_from_network_to_itself_is_the_white_box() -> None:
    model, case = open_model("builtin:brain-tumour-phantom", device="cpu"), phantom.subject(200, (32, 32, 32))
    attack = Transfer(source="builtin:brain-tumour-phantom", method="fgsm", epsilon=0.05)
    np.testing.assert_array_equal(
        attack(model, case).adversarial.image, attacks.FGSM(epsilon=0.05)(model, case).adversarial.image
    )
