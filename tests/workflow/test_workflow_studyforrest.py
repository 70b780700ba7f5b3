"""A real head: raw BIDS with an oblique past, T1w and BOLD 40 mm apart, to Schaefer-100 FC."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import study

from brainmass_core.atlas import resolve_atlas
from brainmass_core.config import load_config
from brainmass_core.connectivity import unvectorise

pytestmark = [pytest.mark.slow, pytest.mark.shared]


def studyforrest_config(shared) -> dict:
    schaefer = "Schaefer2018_100Parcels_7Networks_order_FSLMNI152_2mm.nii.gz"
    return {
        "datasets": {
            "forrest": {
                "kind": "bids",
                "role": "pretrain",
                "path": str(shared / "bids_studyforrest_sub02"),
            }
        },
        "atlas": {"path": str(shared / "atlas_schaefer100" / schaefer), "space": "FSLMNI152"},
        "preprocess": {
            "template": str(shared / "templates_mni" / "MNI152_T1_2mm.nii.gz"),
            "template_mask": str(shared / "templates_mni" / "MNI152_T1_2mm_brain_mask.nii.gz"),
        },
    }


@pytest.fixture(scope="module")
def forrest(shared_data, tmp_path_factory):
    """FC matrix of the scan, its series table and the atlas."""
    folder = tmp_path_factory.mktemp("forrest")
    study.write_config(folder, studyforrest_config(shared_data))
    done = study.snakemake(folder, "--cores", "2", "connectivity")
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    results = folder / "results"
    series = pq.ParquetFile(results / "timeseries/forrest/0.parquet").read().to_pylist()[0]
    fc = pq.ParquetFile(results / "connectivity/forrest/0.parquet").read()["fc"].to_pylist()[0]
    atlas = resolve_atlas(load_config(folder / "config.yaml"), allow_approximate=False)
    return unvectorise(np.asarray(fc)), series, atlas


def within_minus_between(fc: np.ndarray, networks: np.ndarray) -> float:
    """Mean FC within networks minus between them."""
    edges = np.triu_indices(len(fc), 1)
    same = networks[edges[0]] == networks[edges[1]]
    return float(fc[edges][same].mean() - fc[edges][~same].mean())


def test_every_parcel_has_signal(forrest):
    _, series, _ = forrest
    assert series["n_empty_rois"] == 0
    coverage = np.asarray(series["coverage"])
    assert coverage.min() > 0.1, "orbitofrontal signal is lost in part, never whole"
    assert np.median(coverage) > 0.9
    assert np.asarray(series["bold"]).shape[1] == 100


def test_networks_stand_out_and_far_more_than_with_shuffled_parcels(forrest):
    fc, _, atlas = forrest
    networks = atlas.labels["network"].to_numpy()
    margin = within_minus_between(fc, networks)
    rng = np.random.default_rng(0)
    shuffled = [within_minus_between(fc, rng.permutation(networks)) for _ in range(1000)]
    assert margin > 0.1
    assert margin > 5 * np.std(shuffled) + np.mean(shuffled)
