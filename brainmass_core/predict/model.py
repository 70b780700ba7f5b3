"""A deployed model in memory: read, checked, and applied to FC or recordings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file
from threadpoolctl import threadpool_limits

from brainmass_core import __version__
from brainmass_core.checksums import ChecksumError, check_file
from brainmass_core.connectivity import pearson, vectorise
from brainmass_core.encoders.interface import Architecture, Implementation, implementation_of
from brainmass_core.encoders.registry import FEATURES, owner_of
from brainmass_core.finetune.confounds import confound_table
from brainmass_core.finetune.methods.embedding import embed
from brainmass_core.finetune.methods.fitting import Fitted
from brainmass_core.finetune.methods.series_features import embed_recording
from brainmass_core.models.device import device
from brainmass_core.models.pretrained import Pretrained
from brainmass_core.models.weights import (
    check_finite,
    check_sizes,
    check_tensors,
    of_tensors,
    skeleton,
)
from brainmass_core.predict.contract import (
    FILE,
    REMEDY,
    Contract,
    ContractError,
    read_contract,
)
from brainmass_core.predict.serialization import SerializationError, decode
from brainmass_core.pretrain.data.recordings import Feed
from brainmass_core.readers.sidecar import read_object

ESTIMATOR, WEIGHTS, CARD = "estimator.json", "model.safetensors", "README.md"
ENCODER = "encoder."  # prefix of the arrays of the frozen encoder
LIBRARIES = ("scikit-learn", "torch", "numpy", "nilearn")  # they compute the scores
N_PROBES, N_SERIES_PROBES = 4, 2  # a window costs up to a second
TOLERANCE = 1e-3  # relative; float32 on another machine differs by 1e-5, a different model by 1


@dataclass(frozen=True)
class Model:
    """A deployed model.

    Attributes
    ----------
    contract : Contract
    fitted : Fitted
    encoder : Pretrained or None
        Frozen encoder, for methods on embeddings.
    """

    contract: Contract
    fitted: Fitted
    encoder: Any

    @classmethod
    def load(cls, folder: Path) -> Model:
        """Read a model folder without executing code in it.

        Raises
        ------
        ContractError
            If a file is missing, damaged or has invalid content, or the model does not give the
            same results as when it was made.
        """
        contract = read_contract(folder)
        _check_files(folder, contract)
        file = WEIGHTS
        try:
            arrays = load_file(folder / WEIGHTS)
            file = ESTIMATOR
            node = read_object(folder / ESTIMATOR)
            parts = {key: decode(node[key], arrays) for key in ("model", "before", "adjust")}
            file = WEIGHTS
            encoder = encoder_of(contract, arrays)
        except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ContractError(f"{folder / file}: not a valid model ({error}); {REMEDY}") from None
        model = cls(contract, Fitted(contract.kind, **parts, rows=np.empty(0, int)), encoder)
        _check_probe(folder, model)
        return model

    def of_recording(self, series: np.ndarray, t_r: float | None) -> np.ndarray:
        """Prepare a recording as input of `score`, for a model on series, as in training.

        Parameters
        ----------
        series : ndarray (n_timepoints, n_rois)
            At least as long as a window; NaN in parcels without data.
        t_r : float or None
            Repetition time of the recording, s.

        Returns
        -------
        ndarray (n_features,), float32
        """
        feed = self._feed
        windows = feed.windows(series, t_r)
        if self.encoder is None:
            return windows[0].ravel()
        return embed_recording(self.encoder.to(device()), windows, feed.coordinates)

    @cached_property
    def _feed(self) -> Feed:
        assert self.contract.series is not None
        return self.contract.series.feed(self.contract.atlas.name)

    def features(self, seen: np.ndarray) -> np.ndarray:
        """Convert the input of `score` to the features of the estimator."""
        if self.encoder is None or self.contract.series is not None:
            return seen
        return embed(self.encoder, seen, FEATURES[self.contract.features].readout)

    def score(self, seen: np.ndarray, confounds: pd.DataFrame | None = None) -> pd.DataFrame:
        """Predict.

        Parameters
        ----------
        seen : ndarray (n_scans, n_edges) or (n_scans, n_features), float32
            FC, or for a model on series the results of `of_recording`.
        confounds : DataFrame (n_scans rows), optional
            site, sex, age, mean_fd.

        Returns
        -------
        DataFrame (n_scans rows)
            y_score, y_pred (number of the class), and lists class_scores and probability; see
            `finetune.methods.score`.
        """
        if confounds is None:
            confounds = unknown_confounds(len(seen))
        with threadpool_limits(limits=1):  # as in fitting
            return pd.DataFrame(self.fitted.score(self.features(seen), confounds))

    @property
    def encodes(self) -> bool:
        """Whether the model has an encoder, frozen or fine-tuned."""
        return self.encoder is not None or hasattr(self._trained, "embed")

    @property
    def _trained(self) -> Any:
        """The network of the method; None if it has none. A network with an encoder has
        ``embed``."""
        estimator = getattr(self.fitted.model, "regressor_", self.fitted.model)
        return getattr(estimator, "network_", None)

    def embed(self, seen: np.ndarray) -> np.ndarray:
        """Embeddings (n_scans, embedding_dim), float32, of the input of `score`; see `encodes`."""
        if self.encoder is not None:  # whatever the readout; of series `seen` is the embedding
            return seen if self.contract.series is not None else embed(self.encoder, seen)
        estimator = getattr(self.fitted.model, "regressor_", self.fitted.model)
        network = self._trained.cpu()
        with torch.inference_mode():
            parts = [
                network.embed(estimator._matrices(seen[i : i + 64]).cpu()).float().numpy()
                for i in range(0, len(seen), 64)
            ]
        return np.concatenate(parts)


def encoder_of(contract: Contract, arrays: dict[str, np.ndarray]) -> Pretrained | None:
    """Build the frozen encoder from the arrays with the prefix `ENCODER`.

    Raises
    ------
    SerializationError
        If the arrays do not match the architecture.
    """
    about, owner = contract.architecture, owner_of(contract.features)
    if about is None or owner is None:
        return None
    does = implementation_of(owner)
    found = {k: v for k, v in arrays.items() if k.startswith(ENCODER)}
    weights = {k.removeprefix(ENCODER): torch.from_numpy(v.copy()) for k, v in found.items()}
    not_stored = does.not_stored(FEATURES[contract.features].readout)
    try:
        _check_encoder(does, about, weights, not_stored)
        with torch.random.fork_rng():
            model = about.build()
        missing, stray = does.core(model).load_state_dict(weights, strict=False)
        missing = [k for k in missing if not k.startswith(not_stored)]
        if missing or stray:
            raise SerializationError(
                f"the encoder lacks {missing[:3]} or has unexpected arrays: {stray[:3]}"
            )
    except (RuntimeError, KeyError, ValueError) as error:
        raise SerializationError(f"the encoder does not match its weights: {error}") from None
    return model.eval().requires_grad_(False)


def _check_encoder(
    does: Implementation,
    about: Architecture,
    weights: dict[str, torch.Tensor],
    not_stored: tuple[str, ...],
) -> None:
    """Refuse an architecture that does not match the tensors, before it is built.

    Raises
    ------
    ModelError
        Naming the field or tensor.
    """
    found = of_tensors(weights)
    for name, value in about.model_dump().items():
        if isinstance(value, dict):
            check_sizes(f"encoder: {name}", value, found)
        elif not isinstance(value, str | bool):
            check_sizes("encoder", {name: value}, found)
    expected = of_tensors(does.core(skeleton("encoder", about.build)).state_dict())
    unused = {k for k in expected if k.startswith(not_stored)} - set(found)
    check_tensors("encoder", found, {k: v for k, v in expected.items() if k not in unused})
    check_finite("encoder", weights)


def weights_of(features: str, encoder: Pretrained) -> dict[str, np.ndarray]:
    """The arrays of the encoder of the features, as `encoder_of` reads them."""
    owner = owner_of(features)
    assert owner is not None
    does = implementation_of(owner)
    weights = does.core(encoder).state_dict()
    not_stored = does.not_stored(FEATURES[features].readout)
    kept = {k: v for k, v in weights.items() if not k.startswith(not_stored)}
    return {ENCODER + k: v.cpu().contiguous().numpy() for k, v in kept.items()}


def unknown_confounds(n: int) -> pd.DataFrame:
    """Confounds (n rows) with only missing values."""
    nothing: dict[str, Any] = {"site": None, "sex": None, "age": np.nan, "mean_fd": np.nan}
    return confound_table(pd.DataFrame(nothing, index=range(n)))


def probe(model: Model) -> list[list[float]]:
    """Scores of synthetic input, the same on every machine up to rounding."""
    found = model.score(_made_up(model))
    if model.contract.kind == "regression":
        return [[float(v)] for v in found["y_score"]]
    return [[float(v) for v in row] for row in found["class_scores"]]


def _made_up(model: Model) -> np.ndarray:
    """Synthetic input: FC of white noise, or features of such recordings in the model's scale."""
    n_rois, rng = model.contract.atlas.n_rois, np.random.default_rng(0)
    fed = model.contract.series
    if fed is None:
        series = rng.standard_normal((N_PROBES, 2 * n_rois, n_rois))
        return vectorise(pearson(series)).astype(np.float32)
    white = rng.standard_normal((N_SERIES_PROBES, fed.window, n_rois))
    series = white * np.array(fed.scaling.iqr)
    return np.stack([model.of_recording(s.astype(np.float32), fed.t_r) for s in series])


def _check_files(folder: Path, contract: Contract) -> None:
    for name in (ESTIMATOR, WEIGHTS):
        path = folder / name
        if not path.exists():
            raise ContractError(f"{path}: no such file; {REMEDY}")
        try:
            check_file(path, contract.files.get(name))
        except ChecksumError as error:
            raise ContractError(f"{error}; {REMEDY}") from None


def _check_probe(folder: Path, model: Model) -> None:
    """Refuse a model that gives different results with other versions of libraries."""
    try:
        found = np.array(probe(model))
    except Exception as error:  # other versions of libraries may raise any type
        raise ContractError(
            f"{folder}: the model cannot be run here ({type(error).__name__}: {error}); "
            f"{_other_versions(model.contract)}"
        ) from None
    expected = np.array(model.contract.probe)
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    if found.shape != expected.shape or not np.allclose(found, expected, atol=TOLERANCE * scale):
        raise ContractError(
            f"{folder}: on synthetic input the model gives {found.round(4).tolist()}, expected "
            f"{expected.round(4).tolist()}; {_other_versions(model.contract)}"
        )


def library_versions() -> dict[str, str]:
    """Versions of this package and of `LIBRARIES`."""
    return {"brainmass": __version__} | {name: version(name) for name in LIBRARIES}


def _other_versions(contract: Contract) -> str:
    """Cause and remedy if a model does not give its own scores."""
    if contract.versions == library_versions():
        return f"{WEIGHTS} and {ESTIMATOR} do not belong to {FILE}; {REMEDY}"
    return f"it was made with {contract.versions}; install these, or make it again"
