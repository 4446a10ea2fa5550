"""The page around the sections: one file that fetches nothing, with its style and its program in it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from SegAdversarialLib.studies.report.markup import Markup, element, escaped, joined


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: what links lead to; letters and dashes.
        title: its heading.
        content: what stands in it.
    """

    name: str
    title: str
    content: Sequence[Markup]


def page(title: str, intro: Markup, sections: Sequence[Section]) -> str:
    """A whole HTML document.

    A policy in it forbids the browser to fetch anything and to run any program but the page's own: a name that should slip
    through as HTML does no harm.
    """
    style, program = _part("page.css"), _part("page.js")
    policy = f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(program)}'; base-uri 'none'"
    head = joined(
        [
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=policy),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="color-scheme", content="light dark"),
            element("title", title),
            element("style", Markup(style)),
        ]
    )
    links = [element("li", element("a", one.title, href=f"#{one.name}")) for one in sections]
    body = joined(
        [
            element("a", "To the report", class_="skip", href="#report"),
            element(
                "div",
                element("header", element("h1", title), intro),
                element("nav", element("ul", *links), aria_label="Sections"),
                element("main", *map(_section, sections), id="report"),
                class_="layout",
            ),
            element("div", id="said", class_="unseen", role="status"),
            _LARGE,
            element("script", Markup(program)),
        ]
    )
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{body}\n</body>\n</html>\n'


def paragraph(*content: object, quiet: bool = False) -> Markup:
    """A paragraph; a quiet one is small and grey."""
    return element("p", *content, class_="quiet small" if quiet else None)


def heading(text: str) -> Markup:
    """A heading inside a section."""
    return element("h3", text)


def bullets(sentences: Sequence[object], class_: str | None = None) -> Markup:
    """Sentences as a list; none: nothing."""
    return element("ul", *(element("li", x) for x in sentences), class_=class_) if sentences else Markup()


def folded(title: str, *content: Markup) -> Markup:
    """Content that opens with a click on its title."""
    return element("details", element("summary", title), *content)


def _section(one: Section) -> Markup:
    return element("section", element("h2", one.title), *one.content, id=one.name)


_LARGE = element(
    "dialog",
    element("div", element("p"), element("button", "Close", type="button"), class_="bar"),
    element("img", alt=""),
    id="large",
    aria_label="Figure",
)


@cache
def _part(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def separated(things: Sequence[str]) -> Markup:
    """Names one after the other, each of which stays whole for those who read it aloud."""
    return joined([element("code", x) for x in things], escaped(", "))
