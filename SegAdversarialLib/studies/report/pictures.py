"""Figures of a study in the page: small in their place, large when they are pressed."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from SegAdversarialLib.studies.report.markup import Markup, element

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NO_DATE = {"Date": None, "Creator": None}


def figure(title: str, caption: str, picture: bytes, kind: str) -> Markup:
    """A picture that opens large when it is pressed.

    It is an image, not a part of the page: what is written in it can do nothing, and names inside two of them do not meet.

    Args:
        title: what it shows.
        caption: what to see in it.
        picture: its bytes.
        kind: "image/svg+xml" or "image/png".
    """
    data = f"data:{kind};base64,{base64.b64encode(picture).decode()}"
    image = element("img", src=data, alt=f"{title}. {caption}")
    button = element("button", image, type="button", title="Open large")
    return element("figure", button, element("figcaption", element("strong", f"{title}."), f" {caption}"))


def gallery(figures: list[Markup]) -> Markup:
    """Figures side by side, as many as there is room for."""
    return element("div", *figures, class_="figures")


def svg(drawn: Figure) -> bytes:
    """A drawn figure as SVG, with the same bytes whenever it is drawn."""
    import matplotlib

    memory = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "SegAdversarial", "svg.fonttype": "path"}):
        drawn.savefig(memory, format="svg", metadata=_NO_DATE)
    return memory.getvalue()
