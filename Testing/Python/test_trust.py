"""Trust is given to bytes, never to places: what is remembered, listed and forgotten, and what is said before that."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_network

from SegAdversarialLib.cli import main
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats import bundle_files, describe_file, exported, open_model, torchscript, trust
from SegAdversarialLib.formats.model_cache import ModelCache
from SegAdversarialLib.formats.source import ModelSource, open_source
from SegAdversarialLib.formats.users_folders import users_folder
from SegAdversarialLib.formats.verdicts import imports, verdict
from SegAdversarialLib.jobs import make_job
from SegAdversarialLib.jobs.programs import programs_of
from SegAdversarialLib.jobs.word_on_trust import in_users_word

SETTINGS = {"channels": ["A", "B"], "classes": ["background", "core", "rim"]}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A TorchScript network with its settings beside it."""
    return made(tmp_path / "net.ts", 0)


def made(path: Path, seed: int) -> Path:
    torch.jit.script(tiny_network(seed=seed)).save(str(path))
    path.with_suffix(".json").write_text(json.dumps(SETTINGS))
    return path


def opens(path: Path, **how: object) -> bool:
    try:
        open_source(ModelSource(path=str(path), device="cpu", **how))
    except InputError as error:
        assert "is a TorchScript file, a program that could do anything with your files (picklescan " in str(error)
        return False
    return True


def test_a_decision_is_about_bytes(program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not opens(program)
    assert main(["trust", "add", str(program)]) == 0
    sha256 = hashlib.sha256(program.read_bytes()).hexdigest()
    said = capsys.readouterr().out
    assert said.startswith(sha256) and "trusted from now on: net.ts" in said and "picklescan" in said
    assert opens(program) and describe_file(program).opens(False)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(tmp_path, elsewhere, ignore=shutil.ignore_patterns("elsewhere"))
    program.unlink()
    assert opens(elsewhere / "net.ts")
    state = (elsewhere / "net.ts").stat()
    made(elsewhere / "net.ts", 1)  # the place, and all that a folder shows, are the same
    assert not opens(elsewhere / "net.ts") and (elsewhere / "net.ts").stat().st_size == state.st_size
    made(elsewhere / "net.ts", 0)
    assert main(["trust", "forget", sha256[:10]]) == 0 and "forgotten: net.ts" in capsys.readouterr().out
    assert not opens(elsewhere / "net.ts")
    assert main(["trust", "list"]) == 0 and capsys.readouterr().out == "Nothing is remembered as trusted.\n"


def test_trust_for_once_is_not_remembered(program: Path) -> None:
    assert opens(program, trust=True) and not opens(program) and trust.decisions() == []


def test_trust_in_a_sum_opens_these_bytes_alone(program: Path, tmp_path: Path) -> None:
    sums = (trust.digest(program),)
    assert opens(program, trust=sums) and not opens(made(tmp_path / "other.ts", 1), trust=sums)
    with pytest.raises(ValueError, match="trust"):
        ModelSource(path="x", trust=("yes",))


def test_what_is_opened_is_what_was_summed(program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is exchanged after its bytes were looked at: the exchanged one is not what opens."""
    other = made(tmp_path / "other.ts", 1)
    trusts = torchscript.trusts

    def exchanging(word: trust.Trust, sums: list[str]) -> bool:
        shutil.copy(other, program)
        return trusts(word, sums)

    expected = torch.jit.load(str(program)).state_dict()
    sums = (trust.digest(program),)
    monkeypatch.setattr(torchscript, "trusts", exchanging)
    found = torchscript.load(program, sums, torch.device("cpu")).state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert not any(torch.equal(x, expected[key]) for key, x in torch.jit.load(str(program)).state_dict().items())


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"sha256": 3}', '{"sha256": "0", "name": "", "size": 1, "when": "", "scan": ""}', "\0" * 99]
)
def test_a_damaged_decision_is_none(content: str, program: Path) -> None:
    found = trust.remember(program, trust.digest(program))
    file = trust.config_folder() / "trusted" / f"{found.sha256}.json"
    assert opens(program)
    file.write_text(content)
    assert not opens(program) and trust.decisions() == []
    other = found.__dict__ | {"sha256": "0" * 64}
    file.write_text(json.dumps(other))  # it speaks of another content than its name
    assert not opens(program) and trust.decisions() == []


@pytest.mark.parametrize("word", ["../../etc/passwd", "0" * 63, "0" * 65, "G" * 64, "", "0" * 63 + "\n"])
def test_no_other_name_is_looked_up(word: str) -> None:
    assert not trust.remembers(word)


def test_what_cannot_be_forgotten_is_said(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trust.remember(program, trust.digest(program))
    for words, said in (
        (["forget", "unknown"], 'Nothing is remembered of "unknown"'),
        (["forget", "0000"], "Nothing is remembered"),
        (["forget"], "Say what is to be forgotten"),
        (["forget", "net.ts", "--all"], "Say what is to be forgotten"),
        (["add", "builtin:brain-tumour-phantom"], "nothing in it could run"),
        (["add", str(program.parent / "missing.ts")], "There is no network file"),
    ):
        assert main(["trust", *words]) == 2 and said in capsys.readouterr().err
    assert len(trust.decisions()) == 1
    assert main(["trust", "forget", str(program)]) == 0 and trust.decisions() == []
    trust.remember(program, trust.digest(program))
    assert main(["trust", "forget", "--all"]) == 0 and trust.decisions() == []


def test_two_processes_do_not_lose_decisions(tmp_path: Path) -> None:
    """Each remembers its own contents and forgets half of them: the other halves are all there in the end."""
    script = (
        "import sys, pathlib; from SegAdversarialLib.formats import trust\n"
        "own = [f'{sys.argv[1]}{n:063x}' for n in range(20)]\n"
        "for x in own: trust.remember(pathlib.Path(sys.argv[2]), x)\n"
        "for x in own[::2]: trust.forget([x])\n"
    )
    started = [subprocess.Popen([sys.executable, "-c", script, x, __file__]) for x in "ab"]
    assert [x.wait() for x in started] == [0, 0]
    assert {x.sha256 for x in trust.decisions()} == {f"{x}{n:063x}" for x in "ab" for n in range(1, 20, 2)}
    assert sorted(x.suffix for x in (trust.config_folder() / "trusted").iterdir()) == [".json"] * 20


def test_info_of_a_program_says_all_and_opens_nothing(
    program: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("it was opened")

    monkeypatch.setattr(torch.jit, "load", refuse)
    assert main(["info", str(program)]) == 0
    said = capsys.readouterr().out
    assert "could_run:" in said and "the program in it (TorchScript)" in said and "scan:" in said and "not opened here" in said
    assert "picklescan 1." in said and trust.digest(program) in said


def test_an_ensemble_opens_when_all_its_programs_are_trusted(program: Path, tmp_path: Path) -> None:
    other = made(tmp_path / "other.ts", 1)
    whole = tmp_path / "both.json"
    whole.write_text(json.dumps({"members": ["net.ts", "other.ts"]}))
    trust.remember(program, trust.digest(program))
    with pytest.raises(InputError, match="other.ts is a TorchScript file"):
        open_model(whole, device="cpu")
    trust.remember(other, trust.digest(other))
    assert len(open_model(whole, device="cpu").members) == 2


def test_without_the_scanner_that_is_said(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picklescan", None)
    with pytest.raises(InputError, match=r"not scanned: picklescan is not installed \(pip install picklescan\)"):
        open_model(program)


def test_what_the_scanner_does_not_know_is_counted(program: Path, tmp_path: Path) -> None:
    """Classes of the program itself by their number alone, others by a few of their names, always in one order."""
    said = verdict(program)
    assert re.search(r"and \d+ names? that it does not know", said) and "__torch__" not in said and len(said) < 140
    known = [f"strange{n}" for n in (4, 2, 3, 1)]
    body = b"".join(f"c{x}\nmake\n0".encode() for x in [*known, "__torch__.net"])
    (tmp_path / "other.pkl").write_bytes(b"\x80\x02" + body + b"N.")
    names = "strange1.make, strange2.make, strange3.make and 1 more"
    assert verdict(tmp_path / "other.pkl").endswith(f"as dangerous, and 5 names that it does not know ({names})")


def test_the_scanner_looks_into_archives_that_lie_in_archives(tmp_path: Path) -> None:
    """As torch.export writes torch.save's archives into its own."""
    torch.save(torch.nn.Linear(1, 1), tmp_path / "inner.pt")
    with zipfile.ZipFile(tmp_path / "outer.pt2", "w") as archive:
        archive.write(tmp_path / "inner.pt", "net/data/sample_inputs/model.pt")
    assert "no pickle" not in verdict(tmp_path / "outer.pt2")
    assert imports(tmp_path / "outer.pt2") == imports(tmp_path / "inner.pt") != []


def test_a_network_that_stays_open_goes_with_its_trust(program: Path) -> None:
    """As in a worker: the next job with it is refused."""
    cache, wanted = ModelCache(), ModelSource(path=str(program), device="cpu")
    trust.remember(program, trust.digest(program))
    opened = cache.get(wanted)
    assert cache.get(wanted) is opened
    trust.forget([trust.digest(program)])
    for _ in range(2):
        with pytest.raises(InputError, match="is a TorchScript file, a program that could do anything"):
            cache.get(wanted)
    pinned = wanted.model_copy(update={"trust": (trust.digest(program),)})
    assert cache.get(pinned) is cache.get(pinned) is not opened


def test_a_sum_is_taken_anew_when_a_file_changes(program: Path) -> None:
    first = trust.known_digest(program)
    state = program.stat()
    made(program, 1)
    os.utime(program, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert program.stat().st_size == state.st_size
    assert trust.known_digest(program) == trust.digest(program) != first == trust.digest(made(program, 0))
    program.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        trust.known_digest(program)


class Small(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Conv3d(1, 2, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.inner(image)


def exported_program(folder: Path) -> Path:
    torch.export.save(torch.export.export(Small(), (torch.zeros(1, 1, 4, 4, 4),)), folder / "net.pt2")
    return folder / "net.pt2"


def bundle(folder: Path) -> Path:
    """A bundle's zip archive whose network is a program."""
    torch.jit.script(torch.nn.Conv3d(1, 2, 1)).save(str(folder / "inside.ts"))
    config = {"network": "$torch.jit.load('models/model.ts')", "inferer": {"_target_": "SimpleInferer"}}
    config["load"] = {"_target_": "CheckpointLoader", "load_path": "models/model.ts"}
    with zipfile.ZipFile(folder / "net.zip", "w") as archive:
        archive.writestr("configs/inference.json", json.dumps(config))
        archive.write(folder / "inside.ts", "models/model.ts")
    return folder / "net.zip"


@pytest.mark.parametrize("make", [exported_program, bundle])
def test_what_runs_are_the_bytes_that_are_trusted(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is exchanged after its sum was found trusted, and before it is opened: the exchanged one does not run."""
    path = make(tmp_path)
    said = {"channels": ["A"], "classes": ["no", "yes"], "device": "cpu"}
    with pytest.raises(InputError, match="could run .*if you trust its source"):
        open_model(path, **said)
    sums = [trust.digest(path)]
    assert open_model(path, trust=sums, **said).channels == ("A",)
    ran: list[object] = []
    monkeypatch.setattr(torch.jit, "load", lambda *x, **_: ran.append(x))
    monkeypatch.setattr(torch.export, "load", lambda *x, **_: ran.append(x))

    def exchanging(then: Any, *arguments: Any) -> Any:
        path.write_bytes(path.read_bytes() + b" ")
        return then(*arguments)

    monkeypatch.setattr(exported, "_load", partial(exchanging, exported._load))
    unchanged = bundle_files.BundleFiles.unchanged
    monkeypatch.setattr(bundle_files.BundleFiles, "unchanged", lambda files, sums: exchanging(unchanged, files, sums))
    with pytest.raises(InputError, match="changed while it was opened"):
        open_model(path, trust=sums, **said)
    assert ran == []


def test_a_bundle_whose_weights_become_a_program_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from SegAdversarialLib.formats import bundle as bundles

    (tmp_path / "configs").mkdir()
    (tmp_path / "models").mkdir()
    arguments = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [2, 4], "strides": [2]}
    config = {"network_def": {"_target_": "UNet", **arguments}, "inferer": {"_target_": "SimpleInferer"}}
    (tmp_path / "configs" / "inference.json").write_text(json.dumps(config))
    import monai.networks.nets

    weights = tmp_path / "models" / "model.pt"
    torch.save(monai.networks.nets.UNet(**arguments).state_dict(), weights)
    said = {"channels": ["A"], "classes": ["no", "yes"], "device": "cpu"}
    assert open_model(tmp_path, **said).channels == ("A",)
    load = bundles._Weights.load

    def exchanging(*x: Any) -> Any:
        torch.jit.script(torch.nn.Conv3d(1, 2, 1)).save(str(weights))
        return load(*x)

    monkeypatch.setattr(bundles._Weights, "load", exchanging)
    with pytest.raises(InputError, match="is a TorchScript file, a program that could do anything"):
        open_model(tmp_path, **said)


def test_which_programs_a_job_would_open(program: Path, tmp_path: Path) -> None:
    other = made(tmp_path / "other.ts", 1)
    job = {"kind": "attack", "model": {"path": str(program)}, "attacks": [{"attack": "transfer", "source": str(other)}]}
    assert programs_of(job) == {trust.digest(program), trust.digest(other)}
    transfer = {"attack": "transfer", "source": str(other)}
    for method in (transfer, json.dumps(transfer)):
        assert programs_of({"attacks": [{"attack": "least-budget", "method": method}]}) == {trust.digest(other)}
        assert programs_of({"recipe": {"recipe": "x", "attack": method}}) == {trust.digest(other)}
    assert programs_of({"kind": "audit", "model": {"path": "builtin:brain-tumour-phantom"}}) == frozenset()
    assert programs_of({"kind": "audit", "model": {"path": "missing.ts"}, "surrogate": {"path": str(other)}}) == {
        trust.digest(other)
    }
    assert programs_of({"kind": "train", "recipe": {"recipe": "x", "teacher": str(program)}}) == {trust.digest(program)}
    assert programs_of({"kind": "study", "study": "x", "trust": ["ab"]}) == frozenset()
    assert programs_of({"kind": "phantom"}) == frozenset()


def saying(data: Any, word: bool) -> Any:
    """Data with another word on trust, wherever there is one."""
    if isinstance(data, dict):
        return {key: word if key == "trust" else saying(x, word) for key, x in data.items()}
    return [saying(x, word) for x in data] if isinstance(data, list) else data


def test_a_file_does_not_say_that_it_is_trusted_itself(program: Path) -> None:
    """Of a job that stands in a file the user's word counts; nothing else in it changes."""
    source = {"path": str(program), "trust": True}
    transfer = {"attack": "transfer", "source": str(program), "trust": True, "method": {"attack": "pgd", "steps": 3}}
    case = {"phantom": {}}
    jobs = [
        {"kind": "attack", "model": source, "case": case, "attacks": [transfer, {"attack": "fgsm"}], "output": "x"},
        {"kind": "audit", "model": source, "surrogate": source, "cases": [case], "output": "x"},
        {"kind": "train", "cases": [case], "output": "x"}
        | {"recipe": {"recipe": "defensive-distillation", "teacher": str(program), "trust": True}},
    ]
    for job in map(make_job, jobs):
        for word in (True, False):
            assert in_users_word(job, word).model_dump(mode="json") == saying(job.model_dump(mode="json"), word)
    study = make_job({"kind": "study", "study": "x.yaml", "trust": ["ab" * 32]})
    assert in_users_word(study, True).trust is True and in_users_word(study, False).trust is False


@pytest.mark.parametrize(
    ("platform", "variable", "config", "cache"),
    [
        ("linux", "XDG_{}_HOME", ".config", ".cache"),
        ("darwin", "", "Library/Application Support", "Library/Caches"),
        ("win32", "", "AppData/Roaming", "AppData/Local"),
    ],
)
def test_users_folders_are_the_systems_own(
    platform: str, variable: str, config: str, cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "APPDATA", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert users_folder("config") == tmp_path / config / "SegAdversarial"
    assert users_folder("cache") == tmp_path / cache / "SegAdversarial"
    if variable:
        monkeypatch.setenv(variable.format("CACHE"), str(tmp_path / "other"))
        assert users_folder("cache") == tmp_path / "other" / "SegAdversarial"
