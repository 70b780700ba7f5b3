"""The analyses of parcels: networks, attention, and perturbation."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from brainmass_core.atlas.parcels import parcels
from brainmass_core.config import Config
from brainmass_core.series_model import figures
from brainmass_core.series_model.attention import Contrast, attention_by_participant, contrast
from brainmass_core.series_model.fitting import Fit
from brainmass_core.series_model.groups import classes_of
from brainmass_core.series_model.networks import (
    SCHEMES,
    Classified,
    classify_by_graph,
    classify_by_neighbours,
    known_networks,
)
from brainmass_core.series_model.outcome import Outcome, records
from brainmass_core.series_model.perturbation import Search, cls_state, decoded_state, perturb
from brainmass_core.series_model.profiles import (
    Embedding,
    attention_profiles,
    correlation_profiles,
    fit_vae,
)
from brainmass_core.series_model.unseen import Recordings, Trained, load_trained, seen, unseen

DIMS = 16  # of the VAE's latent space
STATES = {"cls": cls_state, "decoded": decoded_state}


def networks(config: Config) -> Outcome:
    """Predict intrinsic networks of held-out parcels from attention and from baselines.

    Raises
    ------
    UnseenError
        If there are no participants to evaluate, or to fit the VAE.
    LeakError
        If pre-training used one of them.
    ModelError
        If the model or the scaling of its series is missing.
    ValueError
        If no networks are known, or there are too few parcels or participants.
    """
    s, trained, length = config.series_model, load_trained(config), config.pretrain.windows.window
    labels = parcels(config, config.atlas.name, trained.n_rois)
    kept, names, source = known_networks(labels)
    windows = unseen(config, trained, length).cut(length, 1)
    correlation = correlation_profiles(windows.series)
    features = {
        "attention": attention_profiles(trained.model, windows.series, trained.coordinates),
        "series": windows.series.numpy(),
        "correlation": correlation,
        "vae": _vae(config, trained, length)(correlation),
        "coordinates": np.tile(trained.coordinates.numpy(), (len(windows.who), 1, 1)),
    }
    rows = []
    for scheme in SCHEMES:
        how = (names, windows.who, scheme)
        found = {
            name: classify_by_neighbours(x[:, kept], *how, s.n_permutations, config.seed)
            for name, x in features.items()
        }
        graph = correlation[:, kept][:, :, kept]
        found["gcn"] = classify_by_graph(
            correlation[:, kept], graph, *how, s.gcn_permutations, config.seed
        )
        same = {"scheme": scheme, "n_participants": len(set(windows.who)), "n_rois": len(kept)}
        same |= {"source": source, "networks": sorted(set(names.tolist()))}
        rows += [same | {"method": m} | _scores(one) for m, one in found.items()]
    return Outcome(rows, partial(figures.networks, pd.DataFrame(rows)))


def _vae(config: Config, trained: Trained, length: int) -> Embedding:
    """Latent codes of correlation profiles, by a VAE fitted to participants of the pre-training."""
    s, train = config.series_model, seen(config, trained, length).cut(length, 1)
    settings = Fit(epochs=s.epochs, batch=s.batch_size, seed=config.seed)
    return fit_vae(correlation_profiles(train.series), train.who, DIMS, settings)


def _scores(found: Classified) -> dict[str, Any]:
    """Columns of one method; chance is missing without permutations."""
    shuffled = len(found.chance) > 0
    return {
        "balanced_accuracy": found.balanced_accuracy,
        "balanced_accuracy_low": found.low,
        "balanced_accuracy_high": found.high,
        "chance": float(found.chance.mean()) if shuffled else None,
        "chance_low": found.chance_low if shuffled else None,
        "chance_high": found.chance_high if shuffled else None,
        "n_permutations": len(found.chance),
        "p": found.p if shuffled else None,
        "recalls": found.recalls.tolist(),
    }


def attention(config: Config) -> Outcome:
    """Attention of the CLS token to each parcel, and its difference between the classes of a task.

    Raises
    ------
    UnseenError
        If there are no participants to evaluate, or too few of a class.
    LeakError
        If pre-training used one of them.
    ModelError
        If the model or the scaling of its series is missing.
    """
    s, trained, length = config.series_model, load_trained(config), config.pretrain.windows.window
    people = unseen(config, trained, length)
    windows = people.cut(length, s.windows)
    who, paid = attention_by_participant(
        trained.model, windows.series, trained.coordinates, windows.who
    )
    labels = parcels(config, config.atlas.name, trained.n_rois)
    table = _of_atlas(labels).assign(
        n_participants=len(who),
        attention=paid.mean(0),
        attention_sd=paid.std(0, ddof=1) if len(who) > 1 else np.nan,
    )
    if s.task:
        found = _contrast(config, people, who, paid)
        table = table.assign(
            first=found.groups[0],
            second=found.groups[1],
            n_first=found.n[0],
            n_second=found.n[1],
            difference=found.difference,
            t=found.t,
            p=found.p,
            p_family=found.p_family,
        )
    return Outcome(records(table), partial(figures.attention, table, labels))


def _contrast(config: Config, people: Recordings, who: np.ndarray, paid: np.ndarray) -> Contrast:
    """Contrast between the classes of the task."""
    classes = classes_of(config, people)
    group = pd.Series({p: c for c, members in classes.items() for p in members}).reindex(who)
    known = group.notna().to_numpy()
    n = config.series_model.n_permutations
    return contrast(paid[known], group[known].to_numpy(dtype=str), n, config.seed)


def _of_atlas(labels: pd.DataFrame) -> pd.DataFrame:
    """Number from 1, name and network of each parcel."""
    table = labels[["name", "network"]].reset_index(drop=True)
    return table.assign(roi=np.arange(1, len(labels) + 1))


def perturbation(config: Config) -> Outcome:
    """Perturbation of the first class that the model treats as the second class.

    Raises
    ------
    UnseenError
        If there are no participants to evaluate, or too few of a class.
    LeakError
        If pre-training used one of them.
    ModelError
        If the model or the scaling of its series is missing.
    """
    s, trained, length = config.series_model, load_trained(config), config.pretrain.windows.window
    people = unseen(config, trained, length)
    windows, classes = people.cut(length, s.windows), classes_of(config, people)
    (first, of_first), (second, of_second) = classes.items()
    state = STATES[s.state](trained.model, trained.coordinates)
    search = Search(
        s.form,
        steps=s.search_steps,
        restarts=s.restarts,
        n_draws=s.search_draws,
        batch=s.batch_size,
        seed=config.seed,
    )
    here, target = (windows[np.isin(windows.who, w)] for w in (of_first, of_second))
    found = perturb(state, here, target, search)
    labels = parcels(config, config.atlas.name, trained.n_rois)
    table = _of_atlas(labels).assign(
        first=first,
        second=second,
        n_first=len(of_first),
        n_second=len(of_second),
        magnitude=found.magnitude,
        magnitude_low=found.low,
        magnitude_high=found.high,
        added=found.added.mean(1),
        remaining_low=found.remaining.min(),
        remaining_high=found.remaining.max(),
    )
    for name, interval in (("restarts", found.over_restarts), ("draws", found.over_draws)):
        for end, value in zip(("", "_low", "_high"), interval, strict=True):
            table[f"stability_{name}{end}"] = value
    return Outcome(records(table), partial(figures.perturbation, table, labels))
