"""The command line as a newcomer meets it: real commands, wrong input, interruption, a full disk."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, tiny_network, toy_case

from SegAdversarialLib import Case, InputError, attacks
from SegAdversarialLib.cli import main
from SegAdversarialLib.volumes.geometry import itk_image
from SegAdversarialLib.volumes.writing import write_volume


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """A case of two channels with labels, and a network for it with its settings beside it."""
    case = toy_case()
    case.write(tmp_path / "case")
    torch.jit.script(tiny_network().float()).save(str(tmp_path / "net.ts"))
    settings = {"channels": ["A", "B"], "classes": ["background", "core", "rim"]}
    (tmp_path / "net.json").write_text(json.dumps(settings))
    names = {name: str(tmp_path / "case" / f"{name}.nii.gz") for name in ("A", "B", "label")}
    return {**names, "model": str(tmp_path / "net.ts"), "output": str(tmp_path / "results")}


def attack_words(files: dict[str, str], *more: str, **changes: str) -> list[str]:
    chosen = {**files, **changes}
    words = ["attack", "--model", chosen["model"], "--trust", "--device", "cpu", "--output", chosen["output"]]
    words += ["--channel", f"A={chosen['A']}", "--channel", f"B={chosen['B']}", "--label", chosen["label"]]
    return [*words, *(more or ("--attack", "fgsm"))]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_a_command_does_not_know_is_said_with_its_own_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "--phantom", "7", "--adversarial", "T1=a.nii.gz", "--output", "x", "--scene", "a.mrb"])
    said = capsys.readouterr().err
    assert said.startswith("segadversarial evaluate: unrecognized arguments: --scene a.mrb") and "evaluate --help" in said


def test_attack_writes_everything(
    files: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(files["model"]).parent)
    files = {name: os.path.relpath(path) for name, path in files.items()}
    words = ("--attack", "fgsm", "--attack", "ifgsm", "--set", "epsilon=0.03", "--set", "ifgsm.steps=2", "--each-channel")
    assert main(attack_words(files, *words, "--set", "quantize=true")) == 0
    output = Path(files["output"]).absolute()
    runs = ["fgsm", "fgsm-A", "fgsm-B", "ifgsm", "ifgsm-A", "ifgsm-B"]
    assert sorted(x.name for x in output.iterdir() if x.is_dir()) == runs
    assert [row["attack"] for row in rows_of(output / "results.csv")] == runs
    case = Case.read({"A": files["A"], "B": files["B"]}, files["label"])
    model_settings = json.loads((output / "ifgsm-B" / "result.json").read_text())
    assert model_settings["attack"]["epsilon"] == 0.03 and model_settings["attack"]["steps"] == 2
    assert not (output / "ifgsm-B" / "A.nii.gz").exists()
    adversarial = Case.read({"B": output / "ifgsm-B" / "B.nii.gz"})
    change = Case.read({"B": output / "ifgsm-B" / "perturbation-B.nii.gz"})
    assert adversarial.dtypes == ("int16",)
    np.testing.assert_array_equal(case.image[1] + change.image[0], adversarial.image[0])
    assert "rim" in capsys.readouterr().out
    trace = rows_of(output / "ifgsm" / "trace.csv")
    assert [row["iteration"] for row in trace] == ["0", "1", "2"]
    metrics = rows_of(output / "ifgsm" / "metrics.csv")
    after = next(row for row in metrics if row["structure"] == "rim" and row["metric"] == "Dice")
    assert float(after["after"]) == pytest.approx(float(trace[-1]["dice rim"]))
    # the job file runs the same again, over its own results, from wherever it is started
    monkeypatch.chdir("/")
    assert main(["run", str(output / "job.json")]) == 2  # a file says nothing of trust
    assert "if you trust its source" in capsys.readouterr().err
    assert main(["run", str(output / "job.json"), "--trust"]) == 0
    assert not [x for x in output.iterdir() if x.name.startswith(".")]


def test_names_of_labels_that_the_reference_does_not_have(
    files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["segment", "--model", files["model"], "--trust", "--device", "cpu", "--output", str(tmp_path / "out")]
    words += ["--channel", f"A={files['A']}", "--channel", f"B={files['B']}", "--label", files["label"]]
    assert main([*words, "--label-names", "99=core", "--label-names", "1=core", "--label-names", "2=rim"]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "has no label" in line]
    assert said == [f"The reference {files['label']} has no label 99 to be called core; it has 1, 2."]


def test_segment_phantom_and_listing(files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["segment", "--model", files["model"], "--trust", "--channel", f"A={files['A']}", "--channel", f"B={files['B']}"]
    assert main([*words, "--output", str(tmp_path / "segmented")]) == 0
    assert Case.read({"s": tmp_path / "segmented" / "segmentation-clean.nii.gz"}).dtypes == ("int16",)
    assert main(["phantom", "--output", str(tmp_path / "cohort"), "--seed", "3", "--seed", "4", "--size", "32"]) == 0
    assert sorted(x.name for x in (tmp_path / "cohort").iterdir()) == ["phantom-003", "phantom-004"]
    capsys.readouterr()
    assert main(["attacks"]) == 0
    shown = capsys.readouterr().out
    assert all(cls.name in shown for cls in attacks.ATTACKS.values())
    assert main(["attacks", "pgd", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pgd"]["properties"]["restarts"]["minimum"] == 1
    assert main(["info", "--model", files["model"], "--trust"]) == 0
    shown = capsys.readouterr().out
    assert "rim" in shown and "a TorchScript file" in shown and "parameters:" in shown
    assert main(["info", files["model"]]) == 0  # a program that is not trusted is described, not opened
    shown = capsys.readouterr().out
    assert "rim" in shown and "not opened here (--trust)" in shown and "parameters:" not in shown


def test_evaluate_measures_any_pair(files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(attack_words(files, "--attack", "fgsm", "--set", "channels=B")) == 0
    attacked = rows_of(Path(files["output"]) / "fgsm-B" / "metrics.csv")
    words = ["evaluate", "--model", files["model"], "--trust", "--device", "cpu", "--label", files["label"]]
    words += ["--channel", f"A={files['A']}", "--channel", f"B={files['B']}", "--output", str(tmp_path / "measured")]
    changed = Path(files["output"]) / "fgsm-B" / "B.nii.gz"
    assert main([*words, "--adversarial", f"B={changed}"]) == 0
    assert rows_of(tmp_path / "measured" / "evaluation" / "metrics.csv") == attacked
    assert main([*words, "--adversarial", f"C={changed}"]) == 2
    assert "There is no channel C" in capsys.readouterr().err
    assert main(["run", str(tmp_path / "measured" / "job.json"), "--trust"]) == 0


def test_events_are_json_lines(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(attack_words(files, "--attack", "ifgsm", "--set", "steps=2", "--events")) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    kinds = [event["event"] for event in events]
    # the toy network is wrong from the start, which is logged once
    assert {"progress", "trace", "result", "log"} == set(kinds) and kinds.count("log") == 1
    fractions = [event["fraction"] for event in events if event["event"] == "progress"]
    assert fractions == sorted(fractions) and fractions[0] >= 0 and fractions[-1] <= 1
    assert events[kinds.index("trace")]["psnr"] is None  # JSON has no infinity
    assert main(attack_words(files, "--attack", "fgsm", "--events", "--set", "epsilon=-1")) == 2
    assert json.loads(capsys.readouterr().out)["event"] == "error"


def spoil(tmp_path: Path) -> dict[str, str]:
    """Files that are wrong in one way each."""
    case = toy_case()
    nan = case.image[0].copy()
    nan[0, 0, 0] = np.nan
    moved = case.affine.copy()
    moved[0, 3] = 3
    import SimpleITK

    made = {"nan": itk_image(nan, case.affine), "moved": itk_image(case.image[1], moved)}
    made["five"] = itk_image(np.full(case.shape, 5, np.int16), case.affine)
    for name, image in made.items():
        SimpleITK.WriteImage(image, str(tmp_path / f"{name}.nii.gz"))
    (tmp_path / "text.nii.gz").write_text("no image")
    (tmp_path / "corrupt.ts").write_bytes(b"PK\x03\x04 no network")
    (tmp_path / "corrupt.json").write_text('{"channels": ["A", "B"], "classes": ["a", "b", "c"]}')
    (tmp_path / "file").write_text("in the way")
    job = {"kind": "attack", "case": {"phantom": {"shape": [32, 32, 32]}}, "output": str(tmp_path / "out")}
    (tmp_path / "job").write_text(json.dumps({**job, "attacks": [{"attack": 5}]}))
    changed = {"model": {"changes": {"trust": True}}, "attacks": [{"attack": "fgsm"}]}
    (tmp_path / "changes").write_text(json.dumps({**job, **changed}))
    return {path.name.split(".")[0]: str(path) for path in tmp_path.iterdir() if path.suffix != ".json"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (lambda f, s: attack_words(f, A="none.nii.gz"), "There is no file none.nii.gz"),
        (
            lambda f, s: attack_words(f, "--attack", "fgsm", "--scene", f["output"] + "/scenes/new/all.mrb", A="none.nii.gz"),
            "There is no file none.nii.gz",
        ),
        (lambda f, s: attack_words(f, A=s["text"]), "cannot be read as an image"),
        (lambda f, s: attack_words(f, B=s["moved"]), "lies on another grid"),
        (lambda f, s: attack_words(f, A=s["nan"]), "Channel A holds 1 voxel"),
        (lambda f, s: attack_words(f, label=s["five"]), "label value(s) 5, which none of the network's classes"),
        (lambda f, s: attack_words(f, "--attack", "fgsm", "--set", "epsilon=-0.1"), "epsilon"),
        (lambda f, s: attack_words(f, "--attack", "fgsm", "--set", "epsilom=0.1"), "epsilom; the nearest name is epsilon."),
        (lambda f, s: attack_words(f, "--attack", "fgsm", "--set", "epsilon"), "not of the form SETTING=VALUE"),
        (lambda f, s: attack_words(f, "--attack", "magic"), 'no attack "magic"; there are'),
        (lambda f, s: attack_words(f, model=s["corrupt"]), "cut off or damaged"),
        (lambda f, s: attack_words(f, model="none.ts"), "no network file none.ts"),
        (lambda f, s: attack_words(f, output=s["file"]), "Cannot write"),
        (lambda f, s: attack_words(f, output="/proc/nowhere"), "Cannot write /proc/nowhere"),  # not even root may
        (lambda f, s: attack_words(f, output=str(Path(f["A"]).parent / ".." / "case" / "A.nii.gz")), "Cannot write"),
        (lambda f, s: attack_words(f, "--attack", "fgsm", "--scene", "scene.zip"), "must end in .mrb"),
        (lambda f, s: [x for x in attack_words(f) if x != "--trust"], "if you trust its source"),
        (lambda f, s: [*attack_words(f)[:10], "--attack", "fgsm"], "takes 2 channel(s), A, B"),
        (lambda f, s: ["segment", "--output", f["output"]], "needs image files"),
        (lambda f, s: attack_words(f, "--attack", "fgsm", "--set", "classes=[]"), "classes"),
        (lambda f, s: attack_words(f, "--attack", "fgsm", "--regions", "liver=9"), "region liver"),
        (lambda f, s: attack_words(f, "--attack", "fgsm", "--set", "pgd.steps=3"), "pgd.steps; the attack is not chosen."),
        (lambda f, s: attack_words(f, "--attack", "fgsm", "--set", "epsilon=5%"), "it must be a number (given: '5%')"),
        (lambda f, s: attack_words(f, "--attack", "fgsm", "--set", "region=brain"), "or foreground (voxels above 0"),
        (lambda f, s: attack_words(f, "--attack", "tifgsm", "--set", "target=liver"), "no file liver"),
        (
            lambda f, s: ["attack", "--phantom", "3", "--label", f["label"], "--attack", "fgsm", "--output", f["output"]],
            "phantom",
        ),
        (
            lambda f, s: ["segment", "--phantom", "3", "--model-channels", "A,B,C,D", "--output", f["output"]],
            "takes 4 channel",
        ),
        (lambda f, s: ["run", s["job"]], "name of an attack"),
        (lambda f, s: ["run", s["changes"]], "no setting trust"),
        (lambda f, s: ["run", "none.json"], "no job file"),
        (lambda f, s: ["run", f["A"]], "no text in UTF-8; give a JSON file in UTF-8"),
    ],
)
def test_wrong_input_is_one_sentence(
    words: Any, message: str, files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wrong").mkdir()
    command = words(files, spoil(tmp_path / "wrong"))
    before = sorted(str(x) for x in tmp_path.rglob("*"))
    assert main(command) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if "%" not in line[:5]]
    assert len(error) == 1 and error[0].startswith("segadversarial: ") and message in error[0]
    assert sorted(str(x) for x in tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            "segment --phantom 7@32 --output x",
            'segment: --phantom: it must be a whole number, not "7@32"; give the size 32 by',
        ),
        ("segment --phantom -1 --output x", 'segment: --phantom: it must be a whole number, 0 or more, not "-1"'),
        (
            "segment --phantom 7 --phantom-size 32x32 --output x",
            "--phantom-size: it must be whole numbers separated by commas",
        ),
        (
            "segment --phantom 7 --overlap 50% --output x",
            '--overlap: it must be a number, with a point for fractions, not "50%"',
        ),
        (
            "segment --phantom 7 --replace-nonfinite nan --output x",
            'it must be a number, with a point for fractions, not "nan"',
        ),
        ("segment --phantom 7 --head tanh --output x", "segment: --head: it must be one of softmax, sigmoid, not 'tanh'"),
        ("segment --phantom 7 --window-batch 0 --output x", "adversarial: --window-batch: it must be 1 or more (given: 0)."),
        ("segment --phantom 7 --accelerate warp --output x", "--accelerate: there is no setting warp; there are fused, "),
        ("segment --phantom 7 --accelerate fused=maybe --output x", "--accelerate: fused: it must be true or false"),
        ("info --preprocessing {} --model x --overlap 2", "--overlap: it must be below 1"),
        ("atack", "segadversarial: COMMAND: it must be one of demo, "),
        ("study plan x --first -1", 'study plan: --first: it must be a whole number, 0 or more, not "-1"'),
        ("segment --phantom 7", "segment: the following arguments are required: --output"),
        ("audit --output x", "segadversarial: There is no case; give some with --cohort, --case or --phantom."),
        ("train --cohort nowhere --output x", "check the path."),
    ],
)
def test_wrong_words_are_one_sentence(words: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status: Any = main([str(tmp_path / "x") if word == "x" else word for word in words.split()])
    except SystemExit as ended:
        status = ended.code
    error = capsys.readouterr().err
    assert status == 2 and told in error and len(error.splitlines()) == 1 and not list(tmp_path.iterdir())


def test_inputs_and_strangers_files_are_not_overwritten(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    output = Path(files["output"])
    (output / "fgsm").mkdir(parents=True)
    (output / "fgsm" / "thesis.txt").write_text("mine")
    assert main(attack_words(files)) == 2
    assert (output / "fgsm" / "thesis.txt").read_text() == "mine"
    (output / "fgsm" / "thesis.txt").unlink()
    (output / "results.csv").write_text("mine too")
    assert main(attack_words(files)) == 2
    assert (output / "results.csv").read_text() == "mine too"
    (output / "results.csv").unlink()
    assert main(attack_words(files)) == 0
    adversarial = output / "fgsm" / "A.nii.gz"
    before = adversarial.read_bytes()
    (output / "probe").write_text("mine as well")
    assert main(attack_words(files, A=str(adversarial))) == 2
    assert (output / "probe").read_text() == "mine as well"
    assert adversarial.read_bytes() == before
    assert "lies where results would be written" in capsys.readouterr().err


def test_interruption_leaves_what_is_finished(files: dict[str, str]) -> None:
    words = attack_words(files, "--attack", "fgsm", "--attack", "pgd", "--set", "pgd.steps=10000", "--events")
    command = [sys.executable, "-m", "SegAdversarialLib", *words]
    # a shell that runs the tests in its background lets them, and what they start, ignore Ctrl-C
    listening = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, **listening)
    assert process.stdout is not None
    for line in process.stdout:
        if "PGD: step 3" in line:
            process.send_signal(signal.SIGINT)
            break
    process.stdout.read()
    assert process.wait(30) == 130
    output = Path(files["output"])
    assert (output / "fgsm" / "result.json").is_file()
    assert [row["attack"] for row in rows_of(output / "results.csv")] == ["fgsm"]
    assert [x.name for x in output.iterdir() if x.is_dir()] == ["fgsm"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can mount a small disk")
def test_full_disk(files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("this machine mounts no small disk")
    try:
        assert main(attack_words(files, output=str(disk / "results"))) == 2
        assert "Cannot write" in capsys.readouterr().err
        kept = [x for x in (disk / "results").rglob("*") if x.is_file()]
        assert {x.name for x in kept} <= {"job.json", "segmentation-clean.nii.gz"}
        if disk / "results" / "segmentation-clean.nii.gz" in kept:
            assert Case.read({"labels": disk / "results" / "segmentation-clean.nii.gz"}).shape == toy_case().shape
        for extension in (".nii", ".nii.gz", ".nrrd", ".mha"):
            volume = np.random.default_rng(0).normal(size=(20, 30, 40)).astype(np.float32)
            with pytest.raises(InputError, match="Cannot write"):
                write_volume(disk / f"volume{extension}", volume, np.eye(4))
            assert not list(disk.glob("*volume*"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_folder(files: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    assert main(attack_words(files, output=str(tmp_path / "locked" / "results"))) == 2


def test_help_is_quick_and_imports_are_light() -> None:
    """Best of three runs, so that a busy machine does not fail it; the limits are the project's promise to its users."""

    def seconds(*words: str) -> float:
        best = float("inf")
        for _ in range(3):
            started = time.perf_counter()
            subprocess.run([sys.executable, *words], check=True, capture_output=True, cwd=ROOT)
            best = min(best, time.perf_counter() - started)
        return best

    assert seconds("-c", "import SegAdversarialLib") < 0.5
    assert seconds("-m", "SegAdversarialLib", "--help") < 1.5
    heavy = "torch", "monai", "slicer", "SimpleITK", "scipy", "vtk", "pandas"
    code = f"import sys, SegAdversarialLib.attacks; sys.exit(bool(set(sys.modules) & set({heavy!r})))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize(("given", "found"), [(None, "1"), ("0", "0")])
def test_large_pages_are_asked_for_unless_the_user_says_otherwise(given: str | None, found: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "THP_MEM_ALLOC_ENABLE"}
    if given is not None:
        environment["THP_MEM_ALLOC_ENABLE"] = given
    code = "import os, SegAdversarialLib; print(os.environ['THP_MEM_ALLOC_ENABLE'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == found


def test_plain_settings_go_where_they_have_a_meaning(files: dict[str, str]) -> None:
    """0.03 of the range for the gradient attacks is not 0.03 scanner units of Cheng's noise."""
    assert (
        main(attack_words(files, "--attack", "fgsm", "--attack", "universal-random-perturbation", "--set", "epsilon=0.03"))
        == 0
    )
    job = json.loads((Path(files["output"]) / "job.json").read_text())
    assert [attack.get("epsilon") for attack in job["attacks"]] == [0.03, None]


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    words = f"{sys.executable} -m SegAdversarialLib attacks | head -n 1"
    done = subprocess.run(words, shell=True, capture_output=True, text=True, cwd=ROOT)
    assert "Traceback" not in done.stderr and done.stdout
