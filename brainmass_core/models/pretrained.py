"""Store models as a folder with ``model.safetensors`` and ``config.json``.

``config.json`` contains the checksum of the weights and its own, so that files that do not belong
together, or are damaged, cause an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from safetensors.torch import load_file, save_file
from torch import nn

from brainmass_core.checksums import (
    FIELD,
    ChecksumError,
    check_file,
    check_seal,
    sealed,
    sha256_of,
)
from brainmass_core.models.weights import (
    ModelError,
    Stored,
    check_counts,
    check_finite,
    check_sizes,
    check_tensors,
    of_tensors,
    skeleton,
    stored_tensors,
)
from brainmass_core.readers.files import FileError, check_regular
from brainmass_core.readers.limits import quoted
from brainmass_core.readers.sidecar import read_object
from brainmass_core.tables import atomic_path

WEIGHTS, SETTINGS = "model.safetensors", "config.json"
OF_WEIGHTS = "weights_sha256"  # key in the settings
DERIVED = "embedding_dim"  # key in the settings, for readers; it follows from the arguments
TORCH = (".bin", ".pt", ".pth", ".ckpt")
NAMES = ("size", "mode")  # arguments that are text; all others are integers
REMEDY = "give a folder that `pretrain` or save_pretrained made"
UNSEALED = (
    "it was made by an older version or another program; if you trust both files, write their "
    "checksums once: brainmass checksum"
)

__all__ = ["SETTINGS", "WEIGHTS", "ModelError", "Pretrained", "read_settings", "seal"]


class Pretrained(nn.Module):
    """A model that can be written to a folder and read from it.

    Attributes
    ----------
    ARGUMENTS : tuple of str
        Attributes of the model that its constructor takes to build it again.
    OPTIONAL : mapping of str to bool
        The same for switches, with their defaults; stored where they differ from the default.
    """

    ARGUMENTS: ClassVar[tuple[str, ...]] = ()
    OPTIONAL: ClassVar[Mapping[str, bool]] = {}

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """A pre-trained model in evaluation mode, without gradients, on the CPU.

        Parameters
        ----------
        folder : path
            Folder with ``model.safetensors`` and ``config.json``.

        Raises
        ------
        ModelError
            If a file is missing or damaged, or the two do not belong together, or the settings do
            not match the tensors. This is checked before memory is allocated.
        """
        folder = Path(folder)
        settings = read_settings(folder)
        try:
            check_file(folder / WEIGHTS, settings.get(OF_WEIGHTS))
        except ChecksumError as error:
            raise ModelError(f"{error}; copy the folder again, or {REMEDY}") from None
        return cls._checked(folder, settings)

    @classmethod
    def _checked(cls, folder: Path, settings: Mapping[str, Any]) -> Self:
        """Load a model after comparing tensors and settings; errors give the remedy."""
        try:
            return cls._compared(folder, settings)
        except ModelError as error:
            if str(error).endswith((REMEDY, "make it again")):
                raise
            raise ModelError(f"{error}; {REMEDY}") from None

    @classmethod
    def _compared(cls, folder: Path, settings: Mapping[str, Any]) -> Self:
        where, found = str(folder / SETTINGS), stored_tensors(folder / WEIGHTS)
        given = cls.arguments(where, settings, found)
        bones = skeleton(where, lambda: cls(**given))
        expected = of_tensors(bones.state_dict())
        _check_derived(where, settings, bones)
        try:
            check_tensors(str(folder / WEIGHTS), found, expected)
        except ModelError as error:
            raise ModelError(f"{error}, as {SETTINGS} describes the model") from None
        model = cls(**given)
        model.load_state_dict(load_file(folder / WEIGHTS))
        check_finite(str(folder / WEIGHTS), model.state_dict())
        check_counts(str(folder / WEIGHTS), model.state_dict())
        return model.eval().requires_grad_(False)

    @classmethod
    def arguments(
        cls, where: str, settings: Mapping[str, Any], found: Mapping[str, Stored]
    ) -> dict[str, Any]:
        """Arguments of the constructor, checked for type and against the sizes of tensors.

        Raises
        ------
        ModelError
            Naming the field.
        """
        given = {name: settings.get(name) for name in cls.ARGUMENTS}
        for name, value in given.items():
            if value is None:
                other = settings.get("model") or settings.get("architectures")
                instead = f", found a model {quoted(other)}" if other else ""
                raise ModelError(
                    f"{where}: {name} is missing{instead}: not a valid model; {REMEDY}"
                )
            if name not in NAMES:
                check_sizes(where, {name: value}, found)
            elif isinstance(value, dict):
                check_sizes(f"{where}: {name}", value, found)
            elif not isinstance(value, str):
                raise ModelError(
                    f"{where}: {name}: found {quoted(value)}, expected a name; {REMEDY}"
                )
        switches = {name: settings.get(name, default) for name, default in cls.OPTIONAL.items()}
        for name, value in switches.items():
            if not isinstance(value, bool):
                raise ModelError(
                    f"{where}: {name}: found {quoted(value)}, expected true or false; {REMEDY}"
                )
        return given | switches

    def save_pretrained(self, folder: str | Path, about: dict[str, Any] | None = None) -> None:
        """Write the model to a folder, the settings last and each file atomically.

        Parameters
        ----------
        about : dict, optional
            Additional entries of ``config.json``, such as the atlas.
        """
        folder = Path(folder)
        settings = {name: getattr(self, name) for name in self.ARGUMENTS} | (about or {})
        switches = {name: getattr(self, name) for name in self.OPTIONAL}
        settings |= {n: value for n, value in switches.items() if value != self.OPTIONAL[n]}
        (folder / SETTINGS).unlink(missing_ok=True)
        with atomic_path(folder / WEIGHTS) as path:
            # only one entry of metadata: several would be written in random order
            tensors = {name: t.contiguous() for name, t in self.state_dict().items()}
            save_file(tensors, path, metadata={"format": "pt"})
        _write_settings(folder, settings)


def read_settings(folder: Path) -> dict[str, Any]:
    """Read the ``config.json`` of a model folder and verify its checksum.

    Raises
    ------
    ModelError
        If a file is missing, or this one damaged or without a checksum.
    """
    for name in (SETTINGS, WEIGHTS):
        if not (folder / name).exists():
            raise ModelError(
                f"{folder / name}: no such file{_found_instead(folder)}; run: snakemake --cores "
                f"all pretrain, or {REMEDY}"
            )
    settings = _unchecked(folder)
    if FIELD not in settings or OF_WEIGHTS not in settings:
        raise ModelError(
            f"{folder / SETTINGS}: has no checksums, so damage could not be detected: {UNSEALED} "
            f"{folder}"
        )
    try:
        check_seal(settings, folder / SETTINGS)
    except ChecksumError as error:
        raise ModelError(f"{error}; copy the folder again, or {REMEDY}") from None
    return settings


def seal(folder: Path, model: type[Pretrained] | None = None) -> None:
    """Write the checksums of a folder whose files are trusted.

    Parameters
    ----------
    model : type, optional
        Expected class of the model; it is loaded, and refused if the files do not match.

    Raises
    ------
    ModelError
        If the folder contains no valid model.
    """
    settings = _unchecked(folder)
    try:
        check_regular(folder / WEIGHTS)  # of a pipe or a device there is no checksum, nor an end
    except FileError as error:
        raise ModelError(f"{error}{other_weights(folder)}; {REMEDY}") from None
    if model is not None:
        model._checked(folder, settings)
    _write_settings(folder, settings)


def _found_instead(folder: Path) -> str:
    """What a path contains in place of a pre-trained model, as part of a message."""
    if folder.exists() and not folder.is_dir():
        return f", because {folder} is a file, not a folder"
    if (folder / "contract.json").exists():
        return ", but contract.json: the model of a task, for `predict` only"
    return other_weights(folder)


def other_weights(folder: Path) -> str:
    """What a folder holds in place of the one file of weights that is read, as part of a message.

    Empty if it holds the file, or nothing that looks like weights.
    """
    if (folder / WEIGHTS).exists() or not folder.is_dir():
        return ""
    names = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
    if parts := [n for n in names if n.endswith(".index.json") or "-of-" in n]:
        return (
            f", but {parts[0]}: weights in several files are not read; save the model in one file "
            "(save_pretrained of transformers: max_shard_size='100GB')"
        )
    if torch_files := [n for n in names if n.endswith(TORCH)]:
        return (
            f", but {torch_files[0]}, a file of torch; bring the authors' checkpoints in by a "
            "command import-* (see brainmass --help), and save others as safetensors"
        )
    if others := [n for n in names if n.endswith(".safetensors")]:
        return f", but {others[0]}; call it {WEIGHTS} if it holds the weights"
    return ""


def _check_derived(where: str, settings: Mapping[str, Any], model: nn.Module) -> None:
    """Refuse a configuration whose width of the embedding is another than the model's."""
    width = getattr(model, DERIVED, None)
    if width is not None and settings.get(DERIVED, width) != width:
        raise ModelError(
            f"{where}: {DERIVED}: found {quoted(settings[DERIVED])}, expected {width}, which "
            "follows from the other sizes"
        )


def _unchecked(folder: Path) -> dict[str, Any]:
    try:
        return read_object(folder / SETTINGS)
    except FileError as error:
        raise ModelError(f"{error}: not a valid model; {REMEDY}") from None


def _write_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    # as they will be read from JSON: tuples become lists, and keys become text
    content = json.loads(json.dumps({k: v for k, v in settings.items() if k != FIELD}))
    content[OF_WEIGHTS] = sha256_of(folder / WEIGHTS)
    with atomic_path(folder / SETTINGS) as path:
        path.write_text(json.dumps(sealed(content), indent=2) + "\n")
