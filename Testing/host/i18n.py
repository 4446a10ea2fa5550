"""Translation as `slicer.i18n` offers it; with `pseudo` on, every text that went through it is recognisable."""

from __future__ import annotations

from pathlib import Path

__all__ = ["getContext", "tr", "translate"]

pseudo = False
"""Whether texts come back as ⟦text⟧. What a panel then shows without brackets did not go through `tr`."""


def translate(context: str, text: str) -> str:
    """A text in the application's language; the host speaks English, or bracketed English."""
    if not isinstance(text, str):
        raise TypeError(f"translate() takes a text, not {type(text).__name__}")
    return f"⟦{text}⟧" if pseudo and text else text


def getContext(sourceFile: str) -> str:
    """The translation context of a source file: the file's name, after its package's where it is in one."""
    file = Path(sourceFile)
    return f"{file.parent.name}.{file.stem}" if (file.parent / "__init__.py").is_file() else file.stem


def tr(text: str) -> str:
    """A text in the application's language. Modules import it as `_`."""
    return translate("", text)
