"""Write the checksums of a model folder that has none."""

from __future__ import annotations

from pathlib import Path

from brainmass_core.encoders.interface import implementation_of
from brainmass_core.encoders.registry import encoders
from brainmass_core.models.pretrained import REMEDY, SETTINGS, ModelError, seal
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
    kinds: dict[str, list[str]] = {}  # model classes by the reason why the folder is not valid
    for model in (kind for encoder in encoders() for kind in implementation_of(encoder).kinds):
        try:
            seal(folder, model)
        except ModelError as error:
            kinds.setdefault(str(error).removesuffix(f"; {REMEDY}"), []).append(model.__name__)
        else:
            return folder / SETTINGS
    reasons = [f"as {' or '.join(names)}: {why}" for why, names in kinds.items()]
    said = "; ".join(reasons) if len(kinds) > 1 else next(iter(kinds))
    raise ModelError(f"{folder}: found no valid model; {said}; {REMEDY}")
