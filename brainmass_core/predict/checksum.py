"""Write the checksums of a model folder that came without them."""

from __future__ import annotations

from pathlib import Path

from brainmass_core.encoders.registry import encoders
from brainmass_core.models.pretrained import REMEDY, SETTINGS, ModelError, seal
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
    kinds: dict[str, list[str]] = {}  # by the reason why it is none of them
    for model in (kind for encoder in encoders() for kind in encoder.load().kinds):
        try:
            seal(folder, model)
        except ModelError as error:
            kinds.setdefault(str(error).removesuffix(f"; {REMEDY}"), []).append(model.__name__)
        else:
            return folder / SETTINGS
    reasons = [f"as {' or '.join(names)}: {why}" for why, names in kinds.items()]
    said = "; ".join(reasons) if len(kinds) > 1 else next(iter(kinds))
    raise ModelError(f"{folder}: found no usable model; {said}; {REMEDY}")
