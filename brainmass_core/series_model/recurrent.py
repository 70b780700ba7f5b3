"""Forecasts by networks on all parcels: an LSTM and a latent ODE."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainmass_core.series_model.fitting import Fit, Windows, fit


class LSTM(nn.Module):
    """Predicts the next timepoint of all parcels, then the next from its own predictions."""

    def __init__(self, n_rois: int, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(n_rois, width, batch_first=True)
        self.head = nn.Linear(width, n_rois)

    def forward(self, observed: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """Forecast, and predictions of each observed timepoint from the previous ones.

        Parameters
        ----------
        observed : Tensor (B, n_rois, n_observed)

        Returns
        -------
        forecast : Tensor (B, n_rois, steps)
        within : Tensor (B, n_rois, n_observed - 1)
        """
        hidden, state = self.lstm(observed.transpose(1, 2))
        predicted = self.head(hidden)  # (B, n_observed, n_rois)
        following = [predicted[:, -1:]]
        for _ in range(steps - 1):
            hidden, state = self.lstm(following[-1], state)
            following.append(self.head(hidden))
        return torch.cat(following, 1).transpose(1, 2), predicted[:, :-1].transpose(1, 2)

    def forecast(self, observed: Tensor, steps: int) -> Tensor:
        """Forecast (B, n_rois, steps) from (B, n_rois, n_observed)."""
        return self(observed, steps)[0]

    def loss(self, series: Tensor, n_observed: int) -> Tensor:
        """Mean squared error of the forecast and of the predictions of observed timepoints, for
        series (B, n_rois, n_timepoints).
        """
        observed, future = series[..., :n_observed], series[..., n_observed:]
        forecast, within = self(observed, future.shape[-1])
        return functional.mse_loss(forecast, future) + functional.mse_loss(
            within, observed[..., 1:]
        )


class LatentODE(nn.Module):
    """A state that follows an ordinary differential equation (Rubanova et al. 2019).

    A GRU reads the observed timepoints and gives the distribution of the state at their end; the
    state evolves by ``dz/dt = f(z)``, where f is a network, and is decoded linearly at each
    timepoint (arXiv:1907.03907, with equally spaced observations, for which the encoder needs no
    ODE).
    """

    def __init__(self, n_rois: int, width: int, n_states: int) -> None:
        super().__init__()
        self.encoder = nn.GRU(n_rois, width, batch_first=True)
        self.start = nn.Linear(width, 2 * n_states)
        self.field = nn.Sequential(
            nn.Linear(n_states, width), nn.Tanh(), nn.Linear(width, n_states)
        )
        self.decoder = nn.Linear(n_states, n_rois)
        self.log_noise = nn.Parameter(torch.zeros(()))  # log variance of observations

    def start_of(self, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Distribution of the state at the last observed timepoint.

        Parameters
        ----------
        observed : Tensor (B, n_rois, n_observed)

        Returns
        -------
        mean, log_variance : Tensor (B, n_states)
        """
        hidden = self.encoder(observed.transpose(1, 2))[1][-1]
        mean, log_variance = self.start(hidden).chunk(2, dim=-1)
        return mean, log_variance

    def decode(self, state: Tensor, steps: int) -> Tensor:
        """Values after a state.

        Parameters
        ----------
        state : Tensor (B, n_states)
        steps : int
            Timepoints.

        Returns
        -------
        Tensor (B, n_rois, steps)
        """
        return self.decoder(rk4(self.field, state, steps)[1:]).permute(1, 2, 0)

    def forecast(self, observed: Tensor, steps: int) -> Tensor:
        """Forecast from the mean state.

        Parameters
        ----------
        observed : Tensor (B, n_rois, n_observed)
        steps : int
            Timepoints.

        Returns
        -------
        Tensor (B, n_rois, steps)
        """
        return self.decode(self.start_of(observed)[0], steps)

    def loss(self, series: Tensor, n_observed: int) -> Tensor:
        """Negative evidence lower bound of the future, per value and without its constant.

        Parameters
        ----------
        series : Tensor (B, n_rois, n_timepoints)
        n_observed : int
            Timepoints from which the rest is predicted.

        Returns
        -------
        Tensor
            A scalar; the state is drawn from torch's default generator.
        """
        future = series[..., n_observed:]
        mean, log_variance = self.start_of(series[..., :n_observed])
        state = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        error = functional.mse_loss(self.decode(state, future.shape[-1]), future)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2
        fit_to_data = (error * (-self.log_noise).exp() + self.log_noise) / 2
        return fit_to_data + divergence / future[0].numel()


def rk4(field: Callable[[Tensor], Tensor], state: Tensor, steps: int, size: float = 1.0) -> Tensor:
    """Solve ``dz/dt = field(z)`` by the classical Runge-Kutta method.

    Parameters
    ----------
    state : Tensor (...)
        Initial state.
    size : float
        Step size.

    Returns
    -------
    Tensor (steps + 1, ...)
        The initial state and that after each step.
    """
    states = [state]
    for _ in range(steps):
        z = states[-1]
        k1 = field(z)
        k2 = field(z + size / 2 * k1)
        k3 = field(z + size / 2 * k2)
        k4 = field(z + size * k3)
        states.append(z + size / 6 * (k1 + 2 * k2 + 2 * k3 + k4))
    return torch.stack(states)


def fit_lstm(train: Windows, n_observed: int, settings: Fit, width: int = 128) -> LSTM:
    """Fit an LSTM to training participants; see `fitting.fit`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        module = LSTM(train.series.shape[1], width)
    _fit(module, train, n_observed, settings)
    return module


def fit_latent_ode(
    train: Windows, n_observed: int, settings: Fit, width: int = 64, n_states: int = 16
) -> LatentODE:
    """Fit a latent ODE to training participants; see `fitting.fit`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        module = LatentODE(train.series.shape[1], width, n_states)
    _fit(module, train, n_observed, settings)
    return module


def _fit(module: LSTM | LatentODE, train: Windows, n_observed: int, settings: Fit) -> None:
    def error(series: Tensor) -> Tensor:
        future = series[..., n_observed:]
        found = module.forecast(series[..., :n_observed], future.shape[-1])
        return functional.mse_loss(found, future)

    fit(module, lambda series: module.loss(series, n_observed), train, settings, error)
