"""`segadversarial models`, and networks that are named as in its list wherever a network's path is taken."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, toy_case
from fetching_helpers import NAME, bundle, catalogued, entry_of, sends, serving  # noqa: F401

from SegAdversarialLib.cli import main
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats import describe_file, open_model
from SegAdversarialLib.formats.fetching import catalogue, store
from SegAdversarialLib.formats.source import ModelSource
from SegAdversarialLib.studies.sources import FileNetwork

REAL = tuple(catalogue.CATALOGUE)


@pytest.fixture(scope="module", name="content")
def _content() -> bytes:
    return bundle()


@pytest.fixture(name="archive")
def _archive(content: bytes, tmp_path: Path) -> Path:
    """The archive as somebody carries it here."""
    path = tmp_path / "carried.zip"
    path.write_bytes(content)
    return path


def test_what_the_catalogue_says() -> None:
    assert {"brats_mri_segmentation", "spleen_ct_segmentation", "wholeBody_ct_segmentation"} < set(REAL)
    for name in REAL:
        which = catalogue.entry(name)
        assert re.fullmatch(r"[0-9a-f]{40}", which.sha1) and which.licence == "Apache-2.0" and which.data and which.classes
        folder = f"https://api.ngc.nvidia.com/v2/models/nvidia/monaihosting/{name.lower()}/versions/{which.version}"
        assert which.url == f"{folder}/files/{name}_v{which.version}.zip"
    with pytest.raises(InputError, match='There is no network "nobody" in the catalogue; there is brats_mri_segmentation'):
        catalogue.entry("nobody")


def test_the_page_names_channels_as_the_list_does() -> None:
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    rows = [x.split(" | ") for x in page.splitlines() if x.startswith("| `")]
    told = {re.findall(r"`(\w+)`", name)[0]: tuple(re.findall(r"`(\w+)`", takes)) for name, _, takes, *_ in rows}
    assert told == {name: catalogue.entry(name).channels for name in REAL}


def test_the_list(content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    said = capsys.readouterr().out
    for name in REAL:
        which = catalogue.entry(name)
        assert f"{name} {which.version} (about {which.megabytes} MB to download)" in said
        assert all(x in " ".join(said.split()) for x in (which.task, which.data, which.sha1, which.url, *which.channels))
    assert main(["models", "list", REAL[1]]) == 0
    only = capsys.readouterr().out
    assert REAL[1] in only and REAL[0] not in only
    assert main(["models", "--events"]) == 0
    events = [json.loads(x) for x in capsys.readouterr().out.splitlines()]
    assert [x["name"] for x in events] == [*REAL, NAME] and {x["event"] for x in events} == {"model"}
    assert events[-1]["sha1"] == hashlib.sha1(content).hexdigest() and events[0]["channels"] == ["T1c", "T1", "T2", "FLAIR"]


def test_get_use_and_remove(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy_case().write(tmp_path / "case", ".nrrd")
    files = [word for name in "AB" for word in ("--channel", f"{name}={tmp_path / 'case' / name}.nrrd")]
    segment = ["segment", *files, "--model", NAME, "--device", "cpu", "--output"]
    assert main([*segment, str(tmp_path / "before")]) == 2
    assert f'The network {NAME} is not downloaded yet: "segadversarial models get {NAME}"' in capsys.readouterr().err
    with serving(sends(content, upto=5000), sends(content)) as server:
        assert main(["models", "get", NAME, "--from", server.url]) == 0
        assert main(["models", "get", NAME]) == 0  # the catalogue's own address would answer nobody
    assert server.ranges == ["", "bytes=5000-"]
    said = capsys.readouterr()
    sum_of = hashlib.sha256(content).hexdigest()
    assert said.out.count(f"SHA-256 {sum_of}, remembered") == 2 and f"Now it opens with --model {NAME}" in said.out
    assert "Apache-2.0. Trained on nobody's data." in said.out and f"100%  {NAME}" not in said.err
    assert main(["models", "cached"]) == 0
    shown = capsys.readouterr().out
    assert f"{NAME} 1.0.0  there: {NAME}_v1.0.0.zip, {len(content):,} bytes; SHA-256 {sum_of}" in shown

    assert main([*segment, str(tmp_path / "named")]) == 0
    (tmp_path / "itself.zip").write_bytes(content)
    assert main([*segment[:-4], str(tmp_path / "itself.zip"), "--device", "cpu", "--output", str(tmp_path / "file")]) == 0
    labels = [next((tmp_path / x).rglob("segmentation*")).read_bytes() for x in ("named", "file")]
    assert labels[0] == labels[1]
    job = json.loads((tmp_path / "named" / "job.json").read_text())
    assert job["model"]["path"] == NAME  # and the job runs wherever that network was fetched
    assert main(["run", str(tmp_path / "named" / "job.json"), "--overwrite"]) == 0
    assert main(["info", NAME]) == 0
    assert "a MONAI bundle (UNet, 2 channel(s), 3 outputs)" in capsys.readouterr().out

    assert main(["models", "remove", NAME]) == 0 and store.stored() == []
    assert f"{NAME} 1.0.0  removed" in capsys.readouterr().out
    assert main(["models", "cached"]) == 0 and "Nothing is in" in capsys.readouterr().out
    assert main([*segment, str(tmp_path / "after")]) == 2


def test_from_a_file_into_a_folder(archive: Path, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "networks"
    assert main(["models", "get", NAME, "--from", str(archive), "--folder", str(folder)]) == 0
    place = folder / f"{NAME}_v1.0.0.zip"
    assert place.read_bytes() == content and f"--model {place}" in capsys.readouterr().out
    assert store.stored() == [] and main(["models", "--folder", str(folder), "cached"]) == 0
    assert place.name in capsys.readouterr().out
    other = archive.with_name("other.zip")
    other.write_bytes(bundle(seed=1))
    assert main(["models", "get", NAME, "--from", str(other)]) == 2
    assert "other.zip is another file than the one in the catalogue" in capsys.readouterr().err
    assert main(["models", "get", NAME, "--from", str(tmp_path / "nobody.zip")]) == 2
    assert "nobody.zip cannot be read (No such file" in capsys.readouterr().err
    assert store.stored() == []


def test_put_there_by_hand(archive: Path, content: bytes) -> None:
    with pytest.raises(InputError) as caught:
        describe_file(NAME)
    place = store.place_of(catalogue.entry(NAME))
    assert f"(SHA-1 {hashlib.sha1(content).hexdigest()}) and put it there: {place}" in str(caught.value)
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    assert describe_file(NAME).channels == ("A", "B")
    assert store.recorded(place) == hashlib.sha256(content).hexdigest()
    place.with_name(place.name + ".sha256").unlink()
    place.write_bytes(bundle(seed=1))
    with pytest.raises(InputError, match=rf"is not {NAME} 1.0.0 of the catalogue \(SHA-1 \w+, not \w+\); take it away"):
        open_model(NAME, device="cpu")


def test_a_later_change_is_noticed(content: bytes) -> None:
    with serving(sends(content)) as server:
        assert main(["models", "get", NAME, "--from", server.url]) == 0
        model = open_model(NAME, device="cpu")
        assert model.name == f"{NAME}_v1.0.0"
        place = store.place_of(catalogue.entry(NAME))
        place.write_bytes(bundle(seed=1))
        with pytest.raises(InputError, match="has changed since it was downloaded") as caught:
            open_model(NAME, device="cpu")
        assert hashlib.sha256(content).hexdigest() in str(caught.value)
        assert main(["models", "get", NAME, "--from", server.url]) == 0  # it takes the place of the changed one
    assert place.read_bytes() == content
    open_model(NAME, device="cpu")


def test_names_and_paths(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name stays a name, in jobs and studies too; a folder of that name is meant by a path."""
    assert ModelSource(path=NAME).anywhere().path == NAME
    assert FileNetwork(path=NAME).anywhere_from(tmp_path).path == NAME
    monkeypatch.chdir(tmp_path)
    (tmp_path / NAME).mkdir()
    with pytest.raises(InputError, match=f'the folder of that name here is "./{NAME}"'):
        describe_file(NAME)
    for path in (f"./{NAME}", Path(NAME)):
        with pytest.raises(InputError, match="holds no network"):
            describe_file(path)
    assert ModelSource(path=f"./{NAME}").anywhere().path == str(tmp_path / NAME)
    with pytest.raises(InputError, match="give a file, or builtin:brain-tumour-phantom or wholeBody_ct_segmentation"):
        describe_file("wholebody_ct_segmentation")


def test_a_member_of_an_ensemble(content: bytes, archive: Path, tmp_path: Path) -> None:
    assert main(["models", "get", NAME, "--from", str(archive)]) == 0
    (tmp_path / "both.json").write_text(json.dumps({"members": [NAME, archive.name]}))
    assert open_model(tmp_path / "both.json", device="cpu").channels == ("A", "B")


WRONG: dict[str, tuple[list[str], str]] = {
    "unknown": (["get", "nobody"], 'There is no network "nobody" in the catalogue'),
    "nothing to remove": (["remove", NAME], f"There is nothing of {NAME} in"),
    "neither": (["remove"], "Say what is to be removed"),
    "both": (["remove", NAME, "--all"], "Say what is to be removed"),
    "no address": (["get", NAME, "--from", "ftp://127.0.0.1/x.zip"], "it must begin with https:// or http://"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    words, sentence = WRONG[what]
    assert main(["models", *words]) == 2
    said: Any = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1 + ("0%" in said)


def test_all_is_removed_and_nothing_else(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "networks"
    assert main(["models", "get", NAME, "--from", str(archive), "--folder", str(folder)]) == 0
    (folder / f"{NAME}_v0.9.zip").write_bytes(b"an older one")
    (folder / "brats_mri_segmentation_v0.5.2.zip.part").write_bytes(b"broke off")
    kept = ("mine.zip", f"{NAME}.zip", f"{NAME}_vintage.zip", "notes.txt")
    for name in kept:
        (folder / name).write_text("mine")
    assert main(["models", "cached", "--folder", str(folder)]) == 0
    assert "brats_mri_segmentation 0.5.2  broke off" in capsys.readouterr().out
    assert main(["models", "remove", "--all", "--folder", str(folder)]) == 0
    assert {x.name for x in folder.iterdir() if not x.name.startswith(".")} == set(kept)


def test_a_study(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its networks, and those on which a transferred attack is made, are named as anywhere else."""
    for n in (1, 2):
        toy_case(seed=n).write(tmp_path / "cohort" / f"p{n}", ".nrrd")
    file = tmp_path / "toys.yaml"
    attacks = f"[{{attack: fgsm}}, {{attack: transfer, source: {NAME}, method: {{attack: fgsm}}}}]"
    file.write_text(f"study: toys\ncohort: cohort\nnetworks: {{toy: {NAME}}}\nattacks: {attacks}\naudit: false\n")
    assert main(["study", "plan", str(file)]) == 2
    assert f"The network {NAME} is not downloaded yet" in capsys.readouterr().err
    assert main(["models", "get", NAME, "--from", str(archive)]) == 0
    assert main(["study", "plan", str(file)]) == 0
    assert "4 jobs on 2 cases" in capsys.readouterr().out
