"""The networks that come with the software."""

from __future__ import annotations

from pathlib import Path

from SegAdversarialLib.errors import InputError

_PREFIX = "builtin:"


def is_builtin(name: str) -> bool:
    """Whether a name means a built-in network."""
    return name.startswith(_PREFIX)


def names() -> list[str]:
    """The built-in networks, by the names that `open_model` takes."""
    return sorted(_PREFIX + path.stem for path in _folder().glob("*.json") if path.with_suffix(".safetensors").is_file())


def settings_file(name: str) -> Path:
    """The settings file of a built-in network.

    Raises:
        InputError: there is no such network.
    """
    _check(name, "network", names())
    return _folder() / f"{name.removeprefix(_PREFIX)}.json"


def generator_names() -> list[str]:
    """The built-in generators of adversarial images, by the names that the generative attack takes."""
    return sorted(_PREFIX + path.stem for path in (_folder() / "generators").glob("*.safetensors"))


def generator_file(name: str) -> Path:
    """The file of a built-in generator.

    Raises:
        InputError: there is no such generator.
    """
    _check(name, "generator", generator_names())
    return _folder() / "generators" / f"{name.removeprefix(_PREFIX)}.safetensors"


def _check(name: str, kind: str, there: list[str]) -> None:
    if name not in there:
        raise InputError(f'There is no built-in {kind} "{name}"; there is {", ".join(there) or "none in this installation"}.')


def _folder() -> Path:
    """Beside the package in a checkout, inside it once installed."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "Resources"
    return inside if inside.is_dir() else package.parent / "Resources"
