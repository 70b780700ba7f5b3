"""Make the network that a method trains, with the settings of the configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from brainmass_core.config import Config
from brainmass_core.encoders.interface import implementation_of
from brainmass_core.encoders.methods import Method
from brainmass_core.finetune.methods.estimators import Setting
from brainmass_core.finetune.methods.networks import (
    BrainNetCNN,
    BrainNetworkTransformer,
    Recipe,
)
from brainmass_core.finetune.methods.neural import NetworkClassifier, NetworkRegressor
from brainmass_core.finetune.methods.series_networks import KINDS as OF_SERIES

RECIPES: dict[str, Callable[[Config], Recipe]] = {
    "brainnetcnn": lambda c: BrainNetCNN(c.neural.brainnetcnn_maps, c.neural.brainnetcnn_lr),
    "transformer": lambda c: BrainNetworkTransformer(
        c.neural.transformer_clusters, c.neural.transformer_lr
    ),
}
KINDS: dict[str, type[NetworkClassifier] | type[NetworkRegressor]] = {
    "classification": NetworkClassifier,
    "regression": NetworkRegressor,
}


def make_network(method: Method, setting: Setting) -> Any:
    """The unfitted estimator of a method that is trained end to end, with the settings of `neural`.

    Parameters
    ----------
    method : Method
        On a network of `RECIPES`, or one of an encoder's `networks`.
    setting : Setting
        Its seed determines weights, inner split, order of the scans and dropout.

    Raises
    ------
    ValueError
        If the setting has no configuration.
    """
    config = setting.config
    if config is None:
        raise ValueError(
            f"method {method.name}: expected a configuration in its setting, found none"
        )
    kinds, s = OF_SERIES if method.series else KINDS, config.neural
    if method.encoder and method.network:
        recipe = implementation_of(method.encoder).recipe(method.network, config)
    else:
        recipe = RECIPES[method.estimator.name](config)
    return kinds[setting.kind](
        recipe,
        max_epochs=s.max_epochs,
        patience=s.patience,
        batch_size=s.batch_size,
        weight_decay=s.weight_decay,
        validation_fraction=s.validation_fraction,
        n_threads=s.n_threads,
        random_state=setting.seed,
    )
