"""Section ``series_model``: analyses of a pre-trained BrainLM."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from brainmass_core.config.base import Strict

Analysis = Literal["reconstruction", "forecast", "networks", "attention", "perturbation"]


class SeriesModel(Strict):
    """Analyses of a BrainLM on the series of participants that its pre-training has not seen.

    Each participant contributes the first scan that is long enough.
    """

    analyses: list[Analysis] = Field(
        default_factory=list,
        description="Analyses to compute, each by a separate job. `reconstruction`: hidden parts "
        "of the series from the visible ones, compared with means and linear interpolation; "
        "`forecast`: the next timepoints from the observed ones, compared with baselines fitted "
        "to participants of the pre-training; `networks`: the intrinsic network of each parcel "
        "from the model's attention, compared with series, correlation, a VAE, a GCN and "
        "coordinates; `attention`: the parcels to which the CLS token attends; `perturbation`: "
        "the change of the series of one class that moves them to the other class in the model. "
        "Default: none.",
    )
    max_participants: int = Field(
        100,
        ge=2,
        description="Maximum number of participants per data set; from more, those with the "
        "smallest hash of seed and name are used. Baselines are fitted to the same number of "
        "pre-training participants.",
    )
    windows: int = Field(
        1, ge=1, description="Maximum number of consecutive windows per scan, from its start."
    )
    task: str | None = Field(
        None,
        description="Name of a classification with two classes, under `tasks`. `attention` "
        "compares the classes, and `perturbation` moves the first to the second. Default: no "
        "comparison.",
    )
    mask_ratio: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Fraction of the tokens that `reconstruction` hides. Default: as in "
        "pre-training.",
    )
    observed_steps: int = Field(
        180,
        ge=1,
        description="Timepoints from which `forecast` predicts; for `brainlm-13m` and "
        "`brainlm-tiny` a multiple of 20.",
    )
    predicted_steps: int = Field(
        20, ge=1, description="Number of following timepoints to predict; multiples as above."
    )
    epochs: int = Field(
        50,
        ge=1,
        description="Maximum number of passes when fitting to participants of the pre-training; "
        "fitting ends after 20 passes without a lower loss on a held-out fifth of them.",
    )
    batch_size: int = Field(8, ge=1, description="Windows per step of these fits.")
    n_permutations: int = Field(
        200, ge=0, description="Shuffles of the labels to estimate chance level."
    )
    gcn_permutations: int = Field(
        20, ge=0, description="The same for the GCN of `networks`, which is fitted again for each."
    )
    state: Literal["cls", "decoded"] = Field(
        "cls",
        description="State that `perturbation` matches between classes: the mean CLS token, or "
        "the mean of the decoded series.",
    )
    form: Literal["constant", "low_rank"] = Field(
        "constant",
        description="Form of the perturbation: one number per parcel, or two time courses shared "
        "by parcels.",
    )
    search_steps: int = Field(100, ge=1, description="Steps of the search for a perturbation.")
    restarts: int = Field(5, ge=1, description="Number of searches from different starts.")
    search_draws: int = Field(
        10,
        ge=0,
        description="Number of searches on participants drawn with replacement, for intervals and "
        "stability.",
    )
    n_draws: int = Field(
        1000,
        ge=100,
        description="Bootstrap draws of participants, for the 95 % intervals of scores.",
    )
