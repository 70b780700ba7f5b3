"""What is done with a pre-trained BrainLM beyond its training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from brainmass_core.config.base import Strict

Analysis = Literal["reconstruction", "forecast", "networks", "attention", "perturbation"]


class SeriesModel(Strict):
    """What a BrainLM makes of the series of participants that its pre-training has not seen.

    Each of them takes part with the first of their scans that is long enough.
    """

    analyses: list[Analysis] = Field(
        default_factory=list,
        description="What is computed, each by a job of its own. `reconstruction`: hidden parts "
        "of the series from the others, against means and a straight line; `forecast`: "
        "the future from what is observed, against baselines fitted to participants of the "
        "pre-training; `networks`: the intrinsic network of each parcel from the model's "
        "attention, against series, correlation, a VAE, a GCN and coordinates; "
        "`attention`: which parcels the CLS token attends to; `perturbation`: what would have to "
        "be added to series of one class for the model to take them for the other. Default: "
        "nothing.",
    )
    max_participants: int = Field(
        100,
        ge=2,
        description="Participants per data set, at most; of more, those with the smallest hash of "
        "seed and name. The same number of those that were pre-trained on fits what needs fitting.",
    )
    windows: int = Field(
        1, ge=1, description="Windows per scan, at most: one after the other from its start."
    )
    task: str | None = Field(
        None,
        description="A classification of two classes, by its name under `tasks`, whose classes "
        "`attention` compares, and the first of which `perturbation` moves to the second. Default: "
        "no comparison.",
    )
    mask_ratio: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Share of the tokens that `reconstruction` hides. Default: that of the "
        "pre-training.",
    )
    observed_steps: int = Field(
        180,
        ge=1,
        description="Timepoints that `forecast` predicts from; of `brainlm-13m` and `brainlm-tiny` "
        "a multiple of 20.",
    )
    predicted_steps: int = Field(
        20, ge=1, description="Timepoints after them that it predicts; multiples as above."
    )
    epochs: int = Field(
        50,
        ge=1,
        description="Passes of what is fitted to participants of the pre-training, at most: it "
        "ends after 20 without a better loss of a fifth of them.",
    )
    batch_size: int = Field(8, ge=1, description="Windows per step of these fits.")
    n_permutations: int = Field(
        200, ge=0, description="Shuffles of the labels that say what chance is."
    )
    gcn_permutations: int = Field(
        20, ge=0, description="The same of the GCN of `networks`, each of which fits it again."
    )
    state: Literal["cls", "decoded"] = Field(
        "cls",
        description="What `perturbation` brings together: means of the CLS token, or of the series "
        "as the model decodes them.",
    )
    form: Literal["constant", "low_rank"] = Field(
        "constant",
        description="What it adds: a number per parcel, or two time courses that parcels share.",
    )
    search_steps: int = Field(100, ge=1, description="Steps of a search for it.")
    restarts: int = Field(5, ge=1, description="Searches from other starts.")
    search_draws: int = Field(
        10,
        ge=0,
        description="Searches on participants drawn with replacement, for its intervals and "
        "stability.",
    )
    n_draws: int = Field(
        1000,
        ge=100,
        description="Draws of participants with replacement, for the 95 % intervals of scores.",
    )
