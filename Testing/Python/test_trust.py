"""Trust is given to bytes, never to places: what is remembered, listed and forgotten, and what is said before that."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from conftest import tiny_network

from SegAdversarialLib.cli import main
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats import describe_file, open_model, torchscript, trust
from SegAdversarialLib.formats.source import ModelSource, open_source
from SegAdversarialLib.formats.verdicts import imports, verdict

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


def test_the_scanner_looks_into_archives_that_lie_in_archives(tmp_path: Path) -> None:
    """As torch.export writes torch.save's archives into its own."""
    torch.save(torch.nn.Linear(1, 1), tmp_path / "inner.pt")
    with zipfile.ZipFile(tmp_path / "outer.pt2", "w") as archive:
        archive.write(tmp_path / "inner.pt", "net/data/sample_inputs/model.pt")
    assert "no pickle" not in verdict(tmp_path / "outer.pt2")
    assert imports(tmp_path / "outer.pt2") == imports(tmp_path / "inner.pt") != []
