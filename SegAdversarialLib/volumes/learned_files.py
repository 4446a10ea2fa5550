"""The safetensors files that this software writes after learning something: what each says it is, and how it is opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from SegAdversarialLib.errors import InputError, detail_of, first_problem
from SegAdversarialLib.volumes.files import is_file


@dataclass(frozen=True)
class LearnedKind:
    """One kind of such files.

    Attributes:
        description: what the files say of themselves ("format").
        what: what is in one, for messages: "generator".
        file: what one is called: "generator file".
        how: how one comes about: "trained".
        command: the command that writes it.
    """

    description: str
    what: str
    file: str
    how: str
    command: str

    def state(self, path: str | Path) -> tuple[str, int, int]:
        """What changes when the file does, by which its content is remembered: path, time of the last change (ns), bytes.

        Raises:
            InputError: there is no such file.
        """
        found = Path(path)
        if not is_file(found):
            raise InputError(f"There is no {self.file} {found}; give one that was {self.how} (.safetensors).")
        state = found.stat()
        return str(found), state.st_mtime_ns, state.st_size

    @contextmanager
    def opened(self, path: str, framework: Literal["numpy", "pt"]) -> Iterator[tuple[Any, Mapping[str, str]]]:
        """Its tensors, as safetensors' open file, and what else it says; nothing in it can run.

        Raises:
            InputError: it holds something else, or what is done with its content inside the block shows that it is damaged.
        """
        import safetensors

        try:
            with safetensors.safe_open(path, framework=framework) as content:
                told = content.metadata() or {}
                if told.get("format") != self.description:
                    raise InputError(f"{path} holds no {self.what}; give a file that {self.command} has written.")
                yield content, told
        except InputError:
            raise
        except ValidationError as error:
            raise InputError(f"The {self.file} {path} is damaged or of another version: {first_problem(error)}") from None
        except Exception as error:  # a damaged file can break the reader anywhere
            raise InputError(f"The {self.file} {path} is damaged or something else ({detail_of(error)}).") from error
