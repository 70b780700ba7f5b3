"""Write the checksums of a model folder that came without them."""

from __future__ import annotations

from pathlib import Path

from brainmass_core.encoders.interface import implementation_of
from brainmass_core.encoders.registry import encoders
from brainmass_core.models.pretrained import SETTINGS, ModelError, seal
from brainmass_core.predict.contract import FILE, seal_contract


def write_checksums(folder: Path) -> Path:
    """Seal a pre-trained or a deployed model whose files the user trusts.

    Returns
    -------
    Path
        The file that now holds them.

    Raises
    ------
    ModelError
        If the folder holds no pre-trained model, or its files do not go together.
    ContractError
        If a deployed model's contract cannot be read.
    """
    if (folder / FILE).exists():
        seal_contract(folder)
        return folder / FILE
    reasons = []
    for model in (kind for encoder in encoders() for kind in implementation_of(encoder).kinds):
        try:
            seal(folder, model)
        except ModelError as error:
            reasons.append(f"as {model.__name__}: {error}")
        else:
            return folder / SETTINGS
    raise ModelError(f"{folder}: found no usable model; " + "; ".join(dict.fromkeys(reasons)))
