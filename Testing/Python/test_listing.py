"""The list of attacks, the choice of several of them, and what is shown while they run."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from SegAdversarialLib import attacks, recipes
from SegAdversarialLib.attacks.documentation import settings_of
from SegAdversarialLib.cli import main
from SegAdversarialLib.cli.progress import LINE_EVERY, Progress
from SegAdversarialLib.studies.pace import Pace
from SegAdversarialLib.studies.records import Cell


@pytest.fixture
def columns(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda number: monkeypatch.setenv("COLUMNS", str(number))


@pytest.mark.parametrize("width", [40, 70, 100, 200])
def test_the_list_has_a_line_for_each(width: int, columns: Any, capsys: pytest.CaptureFixture[str]) -> None:
    columns(width)
    assert main(["attacks"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    named = [line.split()[0] for line in lines if line.startswith("  ")]
    assert sorted(named) == sorted(attacks.ATTACKS)
    headings = [line.partition(":")[0] for line in lines if line and not line.startswith(" ")]
    assert [x for x in headings if x in attacks.GROUPS] == list(attacks.GROUPS)


@pytest.mark.parametrize("width", [40, 70, 100])
def test_the_list_of_recipes_has_a_line_for_each(width: int, columns: Any, capsys: pytest.CaptureFixture[str]) -> None:
    columns(width)
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width and [line.split()[0] for line in lines] == list(recipes.RECIPES)


def test_one_recipe_is_told_in_full(columns: Any, capsys: pytest.CaptureFixture[str]) -> None:
    columns(72)
    assert main(["recipes", "AdversarialTraining"]) == 0
    lines = capsys.readouterr().out.splitlines()
    text = " ".join(" ".join(lines).split())
    assert max(map(len, lines)) <= 72 and "eq. 8 and 9" in text
    for setting in settings_of(recipes.AdversarialTraining):
        assert f"{setting.name} = {setting.default}" in text and setting.description in text
    assert main(["recipes", "distilation"]) == 2
    assert main(["recipes", "noise-augmentation", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["noise-augmentation"]["properties"]["radius"]["unit"]


def test_one_attack_is_told_in_full(columns: Any, capsys: pytest.CaptureFixture[str]) -> None:
    columns(72)
    assert main(["attacks", "PGD"]) == 0
    lines = capsys.readouterr().out.splitlines()
    text = " ".join(" ".join(lines).split())
    assert max(map(len, lines)) <= 72
    for setting in settings_of(attacks.PGD):
        assert f"{setting.name} = {setting.default}" in text and setting.description in text
    assert attacks.PGD.citation in text and "steps = 20 (steps, >= 1, <= 10000)" in text
    assert text.index("epsilon = 0.05") < text.index("most people leave alone") < text.index("seed = 0")
    assert main(["attacks", "random"]) == 0
    shown = capsys.readouterr().out
    assert "worst-of-k" in shown and "pgd" not in shown
    assert main(["attacks", "ramdom"]) == 2


def test_nothing_is_said_twice_of_an_attack_or_a_recipe(capsys: pytest.CaptureFixture[str], columns: Any) -> None:
    """Name, title and the first words of the description are often the same."""
    columns(200)
    assert main(["attacks", "least-budget"]) == 0
    assert capsys.readouterr().out.startswith("least-budget: The smallest budget of another attack with which")
    assert main(["attacks", "square"]) == 0
    assert capsys.readouterr().out.startswith("square: Square attack. Random cubes of +-epsilon")
    for command, known in (("attacks", attacks.ATTACKS), ("recipes", recipes.RECIPES)):
        for name, cls in known.items():
            assert main([command, name]) == 0
            first = capsys.readouterr().out.partition("\n\n")[0].lower()
            title = cls.title.lower()
            assert f"{title}. {title}" not in first and not first.startswith(f"{title.replace(' ', '-')}: {title}"), first


def test_settings_in_words_say_what_the_schema_says() -> None:
    """Two ways to the same bounds: pydantic's JSON schema, and the fields themselves."""
    for cls in attacks.ATTACKS.values():
        schema = cls.model_json_schema()["properties"]
        assert {setting.name for setting in settings_of(cls)} == set(schema)
        for setting in settings_of(cls):
            told = json.dumps(schema[setting.name])
            assert ("inimum" in told) == (">" in setting.bounds), (cls, setting)
            assert ("aximum" in told) == ("<" in setting.bounds), (cls, setting)
            assert all(word in told for word in setting.bounds.partition("of ")[2].split(", ")), (cls, setting)


def test_groups_are_chosen_by_their_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["attack", "--phantom", "7", "--phantom-size", "32", "--device", "cpu", "--output", str(tmp_path / "results")]
    words += ["--attack", "random", "--attack", "uniform-noise", "--attack", "fgsm", "--set", "worst-of-k.draws=2"]
    assert main([*words, "--events"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = ["worst-of-k", "physics-artefact", "universal-random-perturbation", "uniform-noise", "uniform-noise-2", "fgsm"]
    assert [event["name"] for event in events if event["event"] == "result"] == expected
    before, forecast = (event["message"] for event in events if event["event"] == "log")
    assert before.startswith("Before any attack: mean Dice ")
    assert forecast.startswith("6 attacks of 1 gradient and 3 answers of the network: about ")
    fractions = [event["fraction"] for event in events if event["event"] == "progress"]
    assert fractions == sorted(fractions) and fractions[0] >= 0 and 0.5 < fractions[-1] <= 1


class Clock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_file_gets_a_line_now_and_then() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock)
    for step in range(1000):
        progress.show(step / 2000, f"PGD: step {step} of 1000")
        clock.now += LINE_EVERY / 100
    progress.show(0.5, "FGSM: step 1 of 1")
    progress.pause()
    progress.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 11 and lines[0] == "  0%  PGD: step 0 of 1000" and lines[-1].startswith(" 50%  FGSM")
    assert lines[-1].endswith("(about 5 minutes left)") and "left" not in lines[0]
    assert stream.getvalue().isprintable() or all(x.isprintable() for x in lines)


def test_a_job_that_knows_how_long_it_takes_is_believed() -> None:
    """Half a minute went into files and libraries: at 2 % that says nothing about the attack, which the job has timed."""
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock)
    clock.now += LINE_EVERY
    progress.show(0.02, "PGD: step 1 of 20", 40.0)
    progress.show(0.02, "FGSM: step 1 of 1")
    progress.close()
    known, unknown = stream.getvalue().splitlines()
    assert known.endswith("(about 40 seconds left)") and unknown.endswith("FGSM: step 1 of 1")


def test_reading_says_nothing_about_the_time_that_segmenting_takes() -> None:
    """Forty seconds for libraries and files; then a tenth in a second: nine are left, not six minutes."""
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock)
    for fraction, message in ((0.0, "reading"), (0.0, "segmenting"), (0.1, "measuring")):
        progress.show(fraction, message)
        clock.now += 40 if message == "reading" else 1
    progress.close()
    assert stream.getvalue().splitlines() == ["  0%  reading", "  0%  segmenting", " 10%  measuring (about 9 seconds left)"]


def test_nothing_is_added_to_what_a_study_says_of_the_time_left() -> None:
    """Two minutes before the first of its jobs made hours of some minutes."""
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock)
    clock.now += 4 * LINE_EVERY
    told = Pace([Cell(kind="attack", network="n", case="c")]).sentence(1)
    progress.show(0.02, f"jobs: {told}")
    progress.close()
    assert stream.getvalue() == f"  2%  jobs: {told}\n"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize(("width", "terminal", "bar"), [(100, "xterm", True), (20, "xterm", False), (100, "dumb", False)])
def test_terminals_of_all_kinds(width: int, terminal: str, bar: bool) -> None:
    import pty

    code = """if True:
        import sys
        from SegAdversarialLib.cli.progress import Progress
        progress = Progress(sys.stderr)
        for step in range(3):
            progress.show(step / 3, f"PGD: step {step} of 3", 75.0 if step else None)
        progress.close()
    """
    reading, writing = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(width), "TERM": terminal}
    process = subprocess.Popen([sys.executable, "-c", code], stderr=writing, cwd=ROOT, env=environment)
    os.close(writing)
    shown = b""
    try:
        while part := os.read(reading, 4096):
            shown += part
    except OSError:  # its other end is closed
        pass
    os.close(reading)
    assert process.wait(60) == 0
    text = shown.decode()
    assert ("|" in text) == ("< 01:15" in text) == bar and "PGD" in text
    if terminal == "dumb":
        assert text == "  0%  PGD: step 0 of 3\r\n"
    else:
        assert max(len(line) for line in text.split("\r")) < width
