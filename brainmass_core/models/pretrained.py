"""A model as a folder of ``model.safetensors`` and ``config.json``: only here models know files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Self

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from brainmass_core.tables import atomic_path

WEIGHTS, SETTINGS = "model.safetensors", "config.json"


class ModelError(ValueError):
    """A folder that holds no usable pre-trained model."""


class Pretrained(nn.Module):
    """A model that can be written to a folder and read from it.

    Attributes
    ----------
    ARGUMENTS : tuple of str
        Attributes of the model that its constructor takes to build it again.
    """

    ARGUMENTS: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """A pre-trained model in evaluation mode, without gradients, on the CPU.

        Parameters
        ----------
        folder : path
            With ``model.safetensors`` and ``config.json``.

        Raises
        ------
        ModelError
            If a file is missing, damaged, or does not belong to the other.
        """
        folder = Path(folder)
        remedy = "give a folder made by `snakemake --cores all pretrain` or save_pretrained"
        for name in (SETTINGS, WEIGHTS):
            if not (folder / name).exists():
                raise ModelError(f"{folder / name}: no such file; {remedy}")
        try:
            settings = json.loads((folder / SETTINGS).read_text())
            weights = load_file(folder / WEIGHTS)
            model = cls(**{name: settings[name] for name in cls.ARGUMENTS})
            model.load_state_dict(weights)
        except (SafetensorError, json.JSONDecodeError, KeyError, RuntimeError) as error:
            raise ModelError(f"{folder}: not a usable model ({error}); {remedy}") from None
        return model.eval().requires_grad_(False)

    def save_pretrained(self, folder: str | Path, about: dict[str, Any] | None = None) -> None:
        """Write the model to a folder, the weights last and each file atomically.

        Parameters
        ----------
        about : dict, optional
            More entries of ``config.json``, such as the atlas.
        """
        folder = Path(folder)
        settings = {name: getattr(self, name) for name in self.ARGUMENTS} | (about or {})
        with atomic_path(folder / SETTINGS) as path:
            path.write_text(json.dumps(settings, indent=2) + "\n")
        with atomic_path(folder / WEIGHTS) as path:
            # one entry of metadata only: several would come in random order
            tensors = {name: t.contiguous() for name, t in self.state_dict().items()}
            save_file(tensors, path, metadata={"format": "pt"})
