"""Write the checksums of a model folder that has none."""

from __future__ import annotations

from pathlib import Path

from brainmass_core.encoders.interface import implementation_of
from brainmass_core.encoders.registry import encoders
from brainmass_core.models.pretrained import SETTINGS, ModelError, seal
from brainmass_core.predict.contract import FILE, seal_contract


def write_checksums(folder: Path) -> Path:
    """Write the checksums of a pre-trained or deployed model whose files the user trusts.

    Returns
    -------
    Path
        The file with the checksums.

    Raises
    ------
    ModelError
        If the folder contains no pre-trained model, or its files do not belong together.
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
    raise ModelError(f"{folder}: found no valid model; " + "; ".join(dict.fromkeys(reasons)))
