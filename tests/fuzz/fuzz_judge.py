"""Definition of a reader, of an input made from a valid file, and of the allowed outcomes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from fuzz_binary import EVIL
from fuzz_bytes import Change, damaged, inside_gzip

Files = dict[str, bytes]
PACKAGE = "brainmass_core"


class Seed(NamedTuple):
    """A folder that can be read.

    Attributes
    ----------
    files : dict
        Name to content.
    targets : tuple of str
        Names of the files that are changed, one at a time.
    """

    files: Files
    targets: tuple[str, ...]


def alone(*files: tuple[str, bytes | str]) -> list[Seed]:
    """Each file in a separate folder."""
    raw = [(name, c if isinstance(c, bytes) else c.encode()) for name, c in files]
    return [Seed({name: content}, (name,)) for name, content in raw]


@dataclass(frozen=True)
class Reader:
    """A public function that reads files.

    Attributes
    ----------
    make : callable
        Sound folders; the same at every call.
    read : callable
        Takes the folder and the name of the file that was changed; returns what it holds. None is
        a refusal too, of readers that say so.
    refusals : tuple of exceptions
        That the function documents.
    check : callable, optional
        Compares what was read with the bytes, read otherwise: None, or what differs.
    same : callable, optional
        Whether two values are one. A damaged file gives the value that was written, or none.
    changes : dict
        Suffix to the changes that know the format.
    sealed : callable, optional
        Recomputes checksums, so that the code after the comparison is tested; such input may give
        any value of the right kind.
    covered : bool
        Whether checksums cover whatever a change does, and not only damaged bytes.
    """

    name: str
    make: Callable[[], list[Seed]]
    read: Callable[[Path, str], Any]
    refusals: tuple[type[Exception], ...]
    changes: Mapping[str, Sequence[Change]]
    check: Callable[[Path, str, Any], str | None] | None = None
    same: Callable[[Any, Any], bool] | None = None
    sealed: Callable[[Files], None] | None = None
    covered: bool = False
    store: dict[Any, Any] = field(default_factory=dict, hash=False, compare=False)

    @property
    def seeds(self) -> list[Seed]:
        """Valid folders, created once."""
        if "seeds" not in self.store:
            self.store["seeds"] = self.make()
        return self.store["seeds"]


class Input(NamedTuple):
    """One input.

    Attributes
    ----------
    seed : int
        Number of the sound folder.
    target : str
        The file that was changed.
    content : bytes
        What it holds now.
    sealed : bool
        Whether checksums were recomputed.
    exact : bool
        Whether nothing but the original may be read, because only bytes were damaged.
    """

    seed: int
    target: str
    content: bytes
    sealed: bool
    exact: bool


class Verdict(NamedTuple):
    """Outcome of an input: ``read``, ``refused`` or ``finding``."""

    outcome: str
    what: str = ""


def made(reader: Reader, number: int, key: int = 0) -> Input:
    """The input with this number; always the same."""
    rng = Random(f"{key}/{reader.name}/{number}")
    seed = rng.randrange(len(reader.seeds))
    files, targets = reader.seeds[seed]
    target = rng.choice(targets)
    known = next(
        (c for s, c in reader.changes.items() if target.removesuffix(".gz").endswith(s)), ()
    )
    plain = not known or rng.random() < 0.4
    change = damaged if plain else rng.choice(list(known))
    if target.endswith(".gz") and rng.random() < 0.8:
        change, plain = inside_gzip(change), False
    sealed = reader.sealed is not None and rng.random() < 0.5
    exact = not sealed and (plain or reader.covered)
    return Input(seed, target, change(files[target], rng), sealed, exact)


def written(reader: Reader, given: Input, folder: Path) -> None:
    """Write the folder of an input."""
    files = dict(reader.seeds[given.seed].files) | {given.target: given.content}
    if given.sealed and reader.sealed is not None:
        reader.sealed(files)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def judged(reader: Reader, given: Input, folder: Path) -> Verdict:
    """Read a folder and state whether the outcome is allowed."""
    with said() as lines:
        try:
            value = reader.read(folder, given.target)
        except reader.refusals as error:
            verdict = _of_refusal(str(error), folder)
        except Exception as error:
            verdict = Verdict("finding", _where(error))
        else:
            verdict = _of_value(reader, given, folder, value, lines)
    if (folder / EVIL).exists() or Path(EVIL).exists():
        Path(EVIL).unlink(missing_ok=True)
        return Verdict("finding", "code in the file was run")
    return verdict


def _of_refusal(text: str, folder: Path) -> Verdict:
    if str(folder) not in text:
        return Verdict("finding", f"the refusal names no file: {text[:200]}")
    if len(text) > 20_000:
        return Verdict("finding", f"the refusal has {len(text)} characters: {text[:100]}")
    return Verdict("refused", text[:300])


def _of_value(reader: Reader, given: Input, folder: Path, value: Any, lines: list[str]) -> Verdict:
    if value is None:
        named = any(str(folder) in line for line in lines)
        return Verdict("refused") if named else Verdict("finding", "refused without a word")
    try:
        differs = reader.check(folder, given.target, value) if reader.check else None
    except Exception as error:
        differs = f"it cannot be read otherwise ({type(error).__name__}: {str(error)[:150]})"
    if differs:
        return Verdict("finding", f"read as something else: {differs}")
    if (
        given.exact
        and reader.same is not None
        and not reader.same(value, sound(reader, given.seed))
    ):
        return Verdict("finding", "a damaged file is read as something else than was written")
    return Verdict("read")


def sound(reader: Reader, seed: int) -> Any:
    """Content of the valid folder of a seed."""
    from tempfile import TemporaryDirectory

    if ("value", seed) not in reader.store:
        target = reader.seeds[seed].targets[0]
        with TemporaryDirectory() as name:
            whole = Input(seed, target, reader.seeds[seed].files[target], False, True)
            written(reader, whole, Path(name))
            reader.store["value", seed] = reader.read(Path(name), target)
    return reader.store["value", seed]


def _where(error: BaseException) -> str:
    """Type, the innermost line of the package, and the text of an error."""
    frame, place = error.__traceback__, "?"
    while frame is not None:
        name = frame.tb_frame.f_code.co_filename
        if PACKAGE in name:
            place = f"{name[name.index(PACKAGE) :]}:{frame.tb_lineno}"
        frame = frame.tb_next
    return f"{type(error).__name__} at {place}: {str(error)[:200]}"


@contextmanager
def said():
    """Lines that the package logs."""
    lines: list[str] = []

    class Keeps(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler, logger = Keeps(), logging.getLogger(PACKAGE)
    level, propagates = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates
