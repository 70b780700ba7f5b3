"""QC-FC of a data set, with one batch of FC in memory at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from brainmass_core.atlas.parcels import parcels
from brainmass_core.config import Config
from brainmass_core.pipeline.hashing import stable_hash
from brainmass_core.pipeline.paths import Paths
from brainmass_core.quality.qcfc import DistanceDependence, QcFc, QcFcSums, edge_lengths
from brainmass_core.scans.units import joins, read_units
from brainmass_core.tables import read_table

LEAST_PEOPLE = 20
LEAST_KNOWN = 0.8  # minimum fraction of participants with a value, for a covariate to be used


@dataclass(frozen=True)
class MotionInFc:
    """Relation of FC and motion over the participants of a data set.

    Attributes
    ----------
    found : QcFc
    covariates : list of str
        Covariates that were partialled out.
    length : ndarray (n_edges,) or None
        mm; None if the atlas has no coordinates.
    distance : DistanceDependence or None
    n_left_out : int
        Participants with FC and motion but unknown covariates.
    """

    found: QcFc
    covariates: list[str]
    length: np.ndarray | None
    distance: DistanceDependence | None
    n_left_out: int


def motion_in_fc(config: Config, dataset: str, cohort: pd.DataFrame) -> MotionInFc | str:
    """QC-FC over participants, or the reason why it cannot be computed.

    Motion and FC are first averaged over the runs of each participant, which are all in one batch.

    Parameters
    ----------
    cohort : DataFrame
        Result of `cohort.read_cohort`.

    Returns
    -------
    MotionInFc or str
    """
    scans = cohort[(cohort["status"] == "ok") & cohort["mean_fd"].notna()]
    people = scans.groupby("participant_id").agg(
        mean_fd=("mean_fd", "mean"), age=("age", "first"), sex=("sex", "first")
    )
    if len(people) < LEAST_PEOPLE:
        return (
            f"{len(people)} participants have functional connectivity and a known mean framewise "
            f"displacement; QC-FC needs at least {LEAST_PEOPLE}."
        )
    if people["mean_fd"].std(ddof=0) == 0:
        return "Motion is the same for all participants, so nothing can correlate with it."
    table = _covariates(people)
    known = people[table.notna().all(axis=1)]
    table = table.loc[known.index]
    sums, atlas = _summed(config, dataset, scans, known["mean_fd"], table)
    if sums is None:
        return "There is no functional connectivity."
    n_rois = round((1 + np.sqrt(1 + 8 * len(sums.yy))) / 2)
    xyz = parcels(config, atlas, n_rois)[["x", "y", "z"]].to_numpy(float)
    length = edge_lengths(xyz) if np.isfinite(xyz).all() else None
    distance = sums.distance_dependence(length) if length is not None else None
    left_out = len(people) - len(known)
    return MotionInFc(sums.qc_fc(), [str(c) for c in table], length, distance, left_out)


def _covariates(people: pd.DataFrame) -> pd.DataFrame:
    """Age and sex, standardised, if most participants have them and they vary."""
    levels = people["sex"].dropna().unique()
    codes = {level: float(i) for i, level in enumerate(sorted(levels))}
    candidates = pd.DataFrame({"age": people["age"].astype(float)}, index=people.index)
    if len(codes) == 2:  # other numbers of levels cannot be coded as one covariate
        candidates["sex"] = people["sex"].map(codes).astype(float)
    kept = {
        name: (c - c.mean()) / c.std(ddof=0)
        for name, c in candidates.items()
        if c.notna().mean() >= LEAST_KNOWN and c.std(ddof=0) > 0
    }
    return pd.DataFrame(kept, index=people.index)


def _summed(
    config: Config,
    dataset: str,
    scans: pd.DataFrame,
    motion: pd.Series,
    covariates: pd.DataFrame,
) -> tuple[QcFcSums | None, str]:
    """Accumulate sums over all batches; also returns the atlas's name."""
    paths = Paths(config.results)
    person_of = scans.set_index("scan_id")["participant_id"]
    if joins(config):  # a row of FC contains all runs of a unit
        of = read_units(config, dataset).of
        person_of = person_of.rename(index=of)
        person_of = person_of[~person_of.index.duplicated()]
    sums, atlas = None, config.atlas.name
    for batch in range(config.datasets[dataset].batches):
        columns = ["scan_id", "fc"]
        table = read_table(paths.batch("connectivity", dataset, batch), "connectivity", columns)
        who = pd.Series(table["scan_id"].to_pylist()).map(person_of)
        keep = who.isin(motion.index).to_numpy(dtype=bool)
        if not keep.any():
            continue
        flat = table["fc"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        fc = flat.reshape(len(table), -1)[keep]
        names, place = np.unique(who[keep].to_numpy(dtype=str), return_inverse=True)
        means = np.zeros((len(names), fc.shape[1]))
        np.add.at(means, place, fc)
        means /= np.bincount(place)[:, None]
        if sums is None:
            sums = QcFcSums(fc.shape[1], covariates.shape[1])
            atlas = _atlas(paths, dataset, batch) or atlas
        seeds = [stable_hash("qc-fc", str(config.seed), dataset, n) for n in names]
        sums.add(means, motion[names].to_numpy(), covariates.loc[names].to_numpy(), seeds)
    return sums, atlas


def _atlas(paths: Paths, dataset: str, batch: int) -> str:
    names = read_table(paths.batch("timeseries", dataset, batch), "timeseries", ["atlas"])["atlas"]
    found = names.drop_null().unique().to_pylist()
    return str(sorted(found)[0]) if found else ""
