"""What went wrong, as one sentence for people. Nothing heavy is imported here: it must work where a package is missing."""

from __future__ import annotations

import traceback
from typing import Any

from SegAdversarialLib.errors import InputError, detail_of
from SegAdversarialLib.model.memory import is_of_memory

_LOADER_ERRORS = {126, 127, 193, 1114}
"""Windows' numbers for a library that cannot be loaded."""


def failure(error: BaseException) -> dict[str, Any]:
    """An error as an event: its kind, one sentence, and the traceback where that could help anybody.

    The kinds are "input" (the user can mend it), "memory" (there was not enough), "import" (a package is missing or broken)
    and "internal" (a defect).
    """
    kind, message = _explain(error)
    details = "".join(traceback.format_exception(error)) if kind == "internal" else ""
    return {"event": "error", "kind": kind, "message": message, "details": details}


def _explain(error: BaseException) -> tuple[str, str]:
    if is_of_memory(error) or (isinstance(error, InputError) and is_of_memory(error.__cause__)):
        if isinstance(error, InputError):
            return "memory", str(error)
        return "memory", (
            "There is not enough memory for this; close other programs, or use a smaller window, a smaller volume or another "
            "device."
        )
    if isinstance(error, InputError):
        return "input", str(error)
    if isinstance(error, ImportError):
        package = (error.name or "").partition(".")[0]
        missing = f"The Python package {package} is missing" if package else "A Python package is missing"
        return "import", f"{missing} or cannot be loaded ({detail_of(error)}); install it again."
    if isinstance(error, OSError):
        if getattr(error, "winerror", None) in _LOADER_ERRORS:
            return "import", f"A library cannot be loaded ({detail_of(error)}); install PyTorch again."
        return "input", f"{error.strerror or detail_of(error)}: {error.filename or 'a file could not be used'}."
    return "internal", f"Something unexpected went wrong ({type(error).__name__}: {detail_of(error)}); please report it."
