"""Features of each parcel of a recording: attention, correlation, and embeddings of correlation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainmass_core.models.series import SeriesModel
from brainmass_core.series_model.fitting import Fit, Windows, fit
from brainmass_core.series_model.windows import evaluating

MAX_WEIGHTS = 2**25  # limit for attention weights in memory, 128 MB
MAX_R = 1 - 1e-6

Embedding = Callable[[np.ndarray], np.ndarray]  # (n, n_rois, n_features) to (n, n_rois, n_dims)


def parcel_tokens(model: SeriesModel) -> SeriesModel:
    """Check that each token of a model belongs to one parcel.

    Raises
    ------
    ValueError
        If tokens mix parcels.
    """
    if model.token_steps is None:
        raise ValueError(
            f"found a {type(model).__name__}, whose tokens mix {model.shape.patch} parcels each, "
            "so its attention is not specific to single ones; use a model with a token per "
            "parcel, such as brainlm-13m"
        )
    return model


def attention_profiles(model: SeriesModel, windows: Tensor, coordinates: Tensor) -> np.ndarray:
    """Last-layer attention of each parcel to each parcel, and of the CLS token to it.

    Means over heads and over the patches of the attending parcel, sums over those of the attended
    parcel. Nothing is hidden; tokens are in natural order.

    Parameters
    ----------
    windows : Tensor (n_windows, n_rois, n_timepoints)
    coordinates : Tensor (n_rois, 3)
        MNI, in mm.

    Returns
    -------
    ndarray (n_windows, n_rois, n_rois + 1)
        Row i is the attention of parcel i to each parcel, 0 to itself, and last that of the CLS
        token to parcel i.

    Raises
    ------
    ValueError
        If tokens of the model mix parcels.
    """
    model = parcel_tokens(model)
    with evaluating(model) as device:
        rows = [_attention(model, one[None].to(device), coordinates) for one in windows]
    return np.stack(rows)


def _attention(model: SeriesModel, series: Tensor, coordinates: Tensor) -> np.ndarray:
    """Attention (n_rois, n_rois + 1) of one window, with queries in parts to limit memory."""
    x, last = model.before_last(series, coordinates.to(series.device))
    n_rois, n = series.shape[1], x.shape[1]
    n_patches = (n - 1) // n_rois
    paid = torch.zeros(n, n_rois, device=x.device)
    for rows in torch.arange(n, device=x.device).split(max(1, MAX_WEIGHTS // (n * last.heads))):
        weights = last.weights(x, rows[None]).mean(1)[0, :, 1:]  # (rows, n_rois n_patches)
        paid[rows] = weights.unflatten(1, (n_rois, n_patches)).sum(2)
    between = paid[1:].unflatten(0, (n_rois, n_patches)).mean(1).fill_diagonal_(0)
    return torch.cat([between, paid[0][:, None]], dim=1).cpu().numpy()


def correlation_profiles(windows: Tensor) -> np.ndarray:
    """Fisher-transformed correlations between parcels, with diagonal 0.

    Parameters
    ----------
    windows : Tensor (n_windows, n_rois, n_timepoints)

    Returns
    -------
    ndarray (n_windows, n_rois, n_rois)
        0 for a parcel that does not vary.
    """
    x = windows.double() - windows.double().mean(-1, keepdim=True)
    x = x / x.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    z = (x @ x.transpose(1, 2)).clamp(-MAX_R, MAX_R).atanh()
    z.diagonal(dim1=1, dim2=2).zero_()
    return z.cpu().numpy()


class VAE(nn.Module):
    """A variational autoencoder of feature vectors (Kingma and Welling 2014, arXiv:1312.6114)."""

    def __init__(self, n_features: int, width: int, n_dims: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(n_features, width), nn.ReLU(), nn.Linear(width, 2 * n_dims)
        )
        self.decoder = nn.Sequential(
            nn.Linear(n_dims, width), nn.ReLU(), nn.Linear(width, n_features)
        )
        self.log_noise = nn.Parameter(torch.zeros(()))

    def loss(self, x: Tensor) -> Tensor:
        """Negative evidence lower bound per value, without its constant.

        Parameters
        ----------
        x : Tensor (..., n_features)

        Returns
        -------
        Tensor
            A scalar; without noise in evaluation mode.
        """
        mean, log_variance = self.encoder(x).chunk(2, dim=-1)
        noise = torch.randn_like(mean) if self.training else torch.zeros_like(mean)
        error = functional.mse_loss(self.decoder(mean + noise * (log_variance / 2).exp()), x)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1).mean() / 2
        return (error * (-self.log_noise).exp() + self.log_noise) / 2 + divergence / x.shape[-1]


def fit_vae(
    profiles: np.ndarray, who: np.ndarray, n_dims: int, settings: Fit, width: int = 256
) -> Embedding:
    """The mean of a VAE's latent code, fitted to rows of other participants.

    Features are standardised first.

    Parameters
    ----------
    profiles : ndarray (n, n_rois, n_features)
    who : ndarray (n,)
        Participant of each recording.
    n_dims : int
        Of the latent code.
    width : int
        Units of the hidden layers.

    Returns
    -------
    function
        ndarray (n, n_rois, n_features) to ndarray (n, n_rois, n_dims).
    """
    flat = profiles.reshape(-1, profiles.shape[-1])
    centre, scale = flat.mean(0), np.maximum(flat.std(0), 1e-12)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        vae = VAE(profiles.shape[-1], width, n_dims)
    fit(
        vae, vae.loss, Windows(torch.from_numpy((profiles - centre) / scale).float(), who), settings
    )

    @torch.inference_mode()
    def embed(rows: np.ndarray) -> np.ndarray:
        x = torch.from_numpy((rows - centre) / scale).float()
        return vae.encoder(x).chunk(2, dim=-1)[0].double().numpy()

    return embed
