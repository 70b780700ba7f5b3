"""Which network stands behind the name of a method, with the settings of the configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from brainmass_core.config import Config
from brainmass_core.finetune.methods.estimators import Setting
from brainmass_core.finetune.methods.networks import (
    BrainNetCNN,
    BrainNetworkTransformer,
    FineTune,
    Lora,
    Recipe,
)
from brainmass_core.finetune.methods.neural import NetworkClassifier, NetworkRegressor
from brainmass_core.pipeline.paths import Paths


def _folder(config: Config) -> str:
    return str(Paths(config.results).pretrain(config.pretrain.model))


RECIPES: dict[str, Callable[[Config], Recipe]] = {
    "brainnetcnn": lambda c: BrainNetCNN(c.neural.brainnetcnn_maps, c.neural.brainnetcnn_lr),
    "transformer": lambda c: BrainNetworkTransformer(
        c.neural.transformer_clusters, c.neural.transformer_lr
    ),
    "brainmass_finetune": lambda c: FineTune(_folder(c), lr=c.neural.finetune_lr),
    "brainmass_lora": lambda c: Lora(
        _folder(c), rank=c.neural.lora_rank, alpha=c.neural.lora_alpha, lr=c.neural.lora_lr
    ),
    "untrained_finetune": lambda c: FineTune(
        None, c.pretrain.size, c.pretrain.heads, c.seed, lr=c.neural.finetune_lr
    ),
}
KINDS = {"classification": NetworkClassifier, "regression": NetworkRegressor}


def make_network(name: str, setting: Setting) -> NetworkClassifier | NetworkRegressor:
    """The unfitted estimator of a method on FC.

    Parameters
    ----------
    name : str
        Key of `RECIPES`.
    setting : Setting
        Its seed is that of weights, inner split, order of the scans and dropout.

    Raises
    ------
    ValueError
        If the setting has no configuration.
    """
    return unfitted(name, setting, RECIPES[name], KINDS)


def unfitted(
    name: str,
    setting: Setting,
    recipe: Callable[[Config], Recipe],
    kinds: dict[str, type[NetworkRegressor] | type[NetworkClassifier]],
) -> Any:
    """An estimator of the kind of the task, with the settings of the section `neural`.

    Raises
    ------
    ValueError
        If the setting has no configuration.
    """
    config = setting.config
    if config is None:
        raise ValueError(f"method {name}: expected a configuration in its setting, found none")
    s = config.neural
    return kinds[setting.kind](
        recipe(config),
        max_epochs=s.max_epochs,
        patience=s.patience,
        batch_size=s.batch_size,
        weight_decay=s.weight_decay,
        validation_fraction=s.validation_fraction,
        n_threads=s.n_threads,
        random_state=setting.seed,
    )
