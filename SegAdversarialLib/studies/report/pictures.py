"""Figures of a study in the page: small in their place, large when they are pressed."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from SegAdversarialLib.studies.report.markup import Markup, element


def figure(title: str, caption: str, picture: bytes, kind: str, broad: bool = False) -> Markup:
    """A picture that opens large when it is pressed.

    It is an image, not a part of the page: what is written in it can do nothing, and names inside two of them do not meet.

    Args:
        title: what it shows.
        caption: what to see in it.
        picture: its bytes.
        kind: "image/svg+xml" or "image/png".
        broad: it has a row of the gallery for itself.
    """
    data = f"data:{kind};base64,{base64.b64encode(picture).decode()}"
    image = element("img", src=data, alt=f"{title}. {caption}")
    button = element("button", image, type="button", title="Open large")
    told = element("figcaption", element("strong", f"{title}."), f" {caption}")
    return element("figure", button, told, class_="broad" if broad else None)


def gallery(figures: Sequence[Markup]) -> Markup:
    """Figures side by side, as many as there is room for."""
    return element("div", *figures, class_="figures")
