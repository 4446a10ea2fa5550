"""The README and the pages of docs: console examples run as they stand there, and pictures, links and tables are true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import ROOT
from gui_helpers import openModule

from SegAdversarialLib import attacks

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
CONSOLE = "From Slicer's Python console"


def section(page: Path, title: str) -> str:
    """The text under a heading of the second level."""
    return page.read_text(encoding="utf-8").split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def headings(page: Path) -> set[str]:
    """What links to a page's headings are called."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", x).lower().replace(" ", "-") for x in found}


@pytest.mark.usefixtures("slicerHost")
def test_the_console_examples_run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer
    from host import slicer_module

    monkeypatch.chdir(tmp_path)
    openModule()
    # Slicer's console knows it already
    names = {"slicer": slicer}
    blocks = re.findall(r"```python\n(.*?)```", section(ROOT / "docs" / "slicer.md", CONSOLE), re.DOTALL)
    assert len(blocks) == 5
    for block in blocks:
        exec(compile(block, "slicer.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "FGSM, epsilon 0.05" in printed and "necrotic core" in printed and "oedema" in printed
    slicer_module.reset()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pictures_and_links_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in (*re.findall(r"\]\(([^)]+)\)", text), *re.findall(r'src="([^"]+)"', text)):
        if target.startswith("http"):
            continue
        name, _, heading = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.is_file(), target
        assert not heading or heading in headings(file), target


def test_every_page_can_be_reached_from_the_readme() -> None:
    found, waiting = set(), [README]
    while waiting:
        page = waiting.pop()
        if page not in found:
            found.add(page)
            names = re.findall(r"\]\(([^)#]+\.md)", page.read_text(encoding="utf-8"))
            waiting += [(page.parent / x).resolve() for x in names if not x.startswith("http")]
    assert found == {x.resolve() for x in PAGES}


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize("page", [README, ROOT / "docs" / "attacks.md"], ids=lambda page: page.name)
def test_every_attack_has_its_row(page: Path) -> None:
    text = section(page, "The attacks") if page == README else page.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|", text, re.MULTILINE)
    assert set(rows) >= set(attacks.ATTACKS)
