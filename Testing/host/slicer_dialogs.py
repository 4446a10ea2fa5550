"""Message boxes and package installation: written down instead of shown and done; a test gives the answers beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PySide6.QtWidgets import QMessageBox

_BUTTON = QMessageBox.StandardButton
_ACCEPTING = (_BUTTON.Ok, _BUTTON.Yes, _BUTTON.YesToAll, _BUTTON.Retry, _BUTTON.Open, _BUTTON.Save, _BUTTON.Apply)
_REJECTING = (_BUTTON.Cancel, _BUTTON.No, _BUTTON.NoToAll, _BUTTON.Close, _BUTTON.Abort, _BUTTON.Discard)
_KINDS = {1: "info", 2: "warning", 3: "error", 4: "question"}


@dataclass(frozen=True)
class Dialog:
    """A message box that would have been shown.

    Attributes:
        kind: "info", "warning", "error", "question" or "plain".
        answer: the button that was returned, as Qt's number.
        answered: False: it asked something for which the test had prepared no answer, and was told no.
    """

    kind: str
    text: str
    detailedText: str = ""
    title: str = ""
    answer: int = 0
    answered: bool = True


@dataclass(frozen=True)
class PipCall:
    """Packages that would have been installed, as they were asked for."""

    requirements: str | list[Any]
    options: dict[str, Any]


dialogs: list[Dialog] = []
"""All message boxes since the start or the last `clear()`."""

answers: list[bool | int] = []
"""What the next questions are answered with, first one first: True (Ok, Yes), False (Cancel, No) or a button's number."""

pipCalls: list[PipCall] = []
"""What `slicer.util.pip_install` or `slicer.packaging.pip_ensure` was asked for. Nothing is ever installed."""


def clear() -> None:
    """Forget what was recorded and prepared."""
    dialogs.clear()
    answers.clear()
    pipCalls.clear()


def messageBox(text: str, parent: Any = None, **kwargs: Any) -> int:
    """What takes the place of `slicer.util.messageBox`, on which all of its displays and questions rest."""
    buttons = int(kwargs.get("standardButtons") or int(_BUTTON.Ok.value))
    kind = _KINDS.get(int(kwargs.get("icon") or 0), "plain")
    return ask(kind, text, kwargs.get("detailedText") or "", kwargs.get("windowTitle") or "", buttons)


def ask(kind: str, text: str, detailedText: str = "", title: str = "", buttons: int = int(_BUTTON.Ok.value)) -> int:
    """Record a message box and return the prepared answer; where none was prepared, the button that says no.

    Raises:
        AssertionError: the prepared answer is a button that the box does not have.
    """
    offered = [int(x.value) for x in (*_ACCEPTING, *_REJECTING) if int(x.value) & buttons]
    answered = len(offered) <= 1 or bool(answers)
    answer = offered[0] if len(offered) == 1 else _chosen(offered, answers.pop(0) if answers else False)
    dialogs.append(Dialog(kind, str(text), str(detailedText), str(title).strip(), answer, answered))
    return answer


def _chosen(offered: list[int], answer: bool | int) -> int:
    if isinstance(answer, bool):
        wanted = _ACCEPTING if answer else _REJECTING
        return next((int(x.value) for x in wanted if int(x.value) in offered), 0)
    if answer not in offered:
        raise AssertionError(f"the message box has no button {answer}; it has {offered}")
    return answer


def recordPipInstall(requirements: Any, **options: Any) -> None:
    """What takes the place of `slicer.util.pip_install`."""
    pipCalls.append(PipCall(requirements if isinstance(requirements, str) else list(requirements), options))


def recordPipEnsure(requirements: Any, requester: str | None = None, **options: Any) -> None:
    """What takes the place of `slicer.packaging.pip_ensure` (Slicer 5.12)."""
    recordPipInstall(requirements, requester=requester, **options)
