"""The README: its console examples run as they stand there, and its pictures and links are there."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT
from gui_helpers import openModule

README = (ROOT / "README.md").read_text(encoding="utf-8")
CONSOLE = "From Slicer's Python console"


def section(title: str) -> str:
    """The text under a heading of the second level."""
    return README.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


@pytest.mark.usefixtures("slicerHost")
def test_the_console_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    import slicer
    from host import slicer_module

    openModule()
    # Slicer's console knows it already
    names = {"slicer": slicer}
    blocks = re.findall(r"```python\n(.*?)```", section(CONSOLE), re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "FGSM, epsilon 0.05" in printed and "necrotic core" in printed and "oedema" in printed
    slicer_module.reset()


def test_pictures_and_links_are_there() -> None:
    headings = {re.sub(r"[^\w -]", "", x).lower().replace(" ", "-") for x in re.findall(r"^#+ (.*)$", README, re.MULTILINE)}
    targets = [*re.findall(r"\]\(([^)]+)\)", README), *re.findall(r'src="([^"]+)"', README)]
    assert any("slicer-" in x for x in targets)
    for target in targets:
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif not target.startswith("http"):
            assert (ROOT / target).is_file(), target
