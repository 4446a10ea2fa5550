"""The report of a study as a reader meets it, in a real browser: it sorts, opens, fits, can be read, and fetches nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import report_helpers as made_up
from browser_helpers import Browser, texts
from report_helpers import HOSTILE

from SegAdversarialLib.studies.report.contents import Chosen
from SegAdversarialLib.studies.report.page import Section, page
from SegAdversarialLib.studies.report.pictures import figure, gallery
from SegAdversarialLib.studies.report.tables import table
from SegAdversarialLib.studies.report.writing import render
from SegAdversarialLib.studies.tables import Table

DRAWING = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 300 200"><rect width="300" height="200" fill="teal"/></svg>'

# by hand: as numbers 0.5 < 9 < 10.25 < inf, what is missing last; as texts a2 < a10
SORTED = Table(
    "To be sorted",
    ("Name", "Value", "Wide " * 12),
    (("a10", 9.0, "x"), ("a2", None, "y"), (HOSTILE, 10.25, "z"), ("b", float("inf"), "x"), ("c", 0.5, "x")),
)

CONTRAST = """(() => {
  const luminance = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map((x) => x / 255)
      .map((x) => (x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (one) => {
    for (let x = one; x; x = x.parentElement) {
      const color = getComputedStyle(x).backgroundColor;
      if (color !== "rgba(0, 0, 0, 0)") return color;
    }
    return getComputedStyle(document.body).backgroundColor;
  };
  const worst = [21, ""];
  for (const one of document.querySelectorAll("h1,h2,h3,p,li,td,th button,a,dt,dd,summary,figcaption,.verdict,code")) {
    if (!one.textContent.trim() || one.closest("dialog, .skip")) continue;
    const [a, b] = [luminance(getComputedStyle(one).color), luminance(behind(one))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < worst[0]) worst.splice(0, 2, ratio, one.outerHTML.slice(0, 200));
  }
  return worst;
})()"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests; skipped by name where none is installed."""
    found = Browser()
    yield found
    found.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with all sections in it."""
    path: Path = tmp_path_factory.mktemp("report") / "report.html"
    figures = [figure(f"Figure {n} {HOSTILE}", "What to see.", DRAWING, "image/svg+xml", broad=n == 0) for n in range(3)]
    tables = [Chosen(SORTED), Chosen(SORTED, first=False)]
    path.write_text(render(made_up.material(), tables, figures), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def sortable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("sortable") / "page.html"
    path.write_text(page("T", table(SORTED), [Section("f", "F", [gallery([figure("One", "two", DRAWING, "image/svg+xml")])])]))
    return path


@pytest.mark.parametrize("width", [1366, 400])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_can_be_read_and_fetches_nothing(browser: Browser, whole: Path, width: int, dark: bool) -> None:
    browser.open(whole, width=width, dark=dark)
    assert browser.run("document.documentElement.scrollWidth") == width
    ratio, element = browser.run(CONTRAST)
    assert ratio >= 4.5, element
    assert not browser.complaints and browser.fetched == [whole.resolve().as_uri()]
    assert browser.run("document.querySelectorAll('script').length") == 1
    assert HOSTILE in "".join(texts(browser, "td"))


def test_tables_sort_by_a_click(browser: Browser, sortable: Path) -> None:
    browser.open(sortable)
    values = "td:nth-child(2)"
    given = ["9.00", "\u2013", "10.25", "inf", "0.50"]
    assert texts(browser, values) == given
    for expected, state in (
        (["0.50", "9.00", "10.25", "inf", "\u2013"], "ascending"),
        (["inf", "10.25", "9.00", "0.50", "\u2013"], "descending"),
        (given, "none"),
    ):
        browser.click("th:nth-child(2) button")
        assert texts(browser, values) == expected
        assert browser.run("[...document.querySelectorAll('th')].map((x) => x.ariaSort)") == ["none", state, "none"]


def test_tables_sort_by_the_keyboard(browser: Browser, sortable: Path) -> None:
    browser.open(sortable)
    browser.run("document.querySelector('th button').focus()")
    browser.press("Enter")
    names = [x for x in texts(browser, "td:first-child") if x != HOSTILE]
    assert (
        names == ["a2", "a10", "b", "c"]
        and browser.run("document.getElementById('said').textContent") == "Sorted by Name, ascending"
    )
    browser.press("Space")
    assert [x for x in texts(browser, "td:first-child") if x != HOSTILE] == ["c", "b", "a10", "a2"]


def test_figures_open_large_and_escape_closes_them(browser: Browser, sortable: Path) -> None:
    browser.open(sortable)
    small = browser.run("document.querySelector('figure img').getBoundingClientRect().width")
    browser.click("figure button")
    assert browser.run("document.getElementById('large').open")
    assert browser.run("document.querySelector('dialog img').getBoundingClientRect().width") > 1.5 * small
    browser.press("Escape")
    assert not browser.run("document.getElementById('large').open")
    assert browser.run("document.activeElement === document.querySelector('figure button')")
    browser.press("Enter")
    assert browser.run("document.getElementById('large').open")
    browser.click("dialog button")
    assert not browser.run("document.getElementById('large').open") and not browser.complaints


def test_no_program_of_a_stranger_runs_even_where_html_slips_through(browser: Browser, sortable: Path, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    slipped = "<script>document.title = 'ran'</script><img src='x' onerror=\"document.title = 'ran'\">"
    path.write_text(sortable.read_text().replace("<main", f"{slipped}<main", 1))
    browser.open(path)
    assert browser.run("document.title") == "T" and browser.complaints


def test_all_of_it_is_printed(browser: Browser, whole: Path, tmp_path: Path) -> None:
    browser.open(whole)
    browser.run("window.dispatchEvent(new Event('beforeprint'))")
    assert browser.run("document.querySelectorAll('details:not([open])').length") == 0
    assert browser.print(tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    browser.run("window.dispatchEvent(new Event('afterprint'))")
    assert browser.run("document.querySelectorAll('details[open]').length") == 0


@pytest.mark.parametrize(("width", "share"), [(1366, 0.35), (400, 0.0)])
def test_sentences_have_room(browser: Browser, tmp_path: Path, width: int, share: float) -> None:
    """Columns of sentences are not squeezed by those of names and numbers, also where the table scrolls."""
    sentence = "Mean Dice at epsilon 0.05: i-FGSM 0.412, ti-FGSM 0.533, FGSM 0.671 (n = 8 patients, p = 0.008 after Holm)."
    claims = Table("Claims", ("Claim", "Where", "Verdict", "Evidence"), ((sentence, "Tables 1 and 2", "holds", sentence),))
    path = tmp_path / "page.html"
    path.write_text(page("T", table(claims), []))
    browser.open(path, width=width)
    widths = browser.run("[...document.querySelectorAll('td')].map((x) => x.offsetWidth)")
    assert min(widths[0], widths[3]) >= max(240, share * sum(widths)) and min(widths) >= 56
