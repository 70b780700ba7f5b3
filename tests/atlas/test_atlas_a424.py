"""The published A424 of BrainLM, read as any label image, compared with its own file of
coordinates.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brainmass_core.atlas import Atlas, atlas_from_image

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data / "atlas_a424"


@pytest.fixture(scope="module")
def a424(folder: Path) -> Atlas:
    return atlas_from_image(folder / "A424+2mm.nii.gz", "A424", "MNI152NLin6Asym")


def distances(atlas: Atlas, folder: Path) -> np.ndarray:
    """Distance (mm) of the centroid of each label from the published coordinates of its number."""
    table = np.loadtxt(folder / "A424_Coordinates.dat")
    published = dict(zip(table[:, 0].astype(int), table[:, 1:], strict=True))
    xyz = atlas.labels[["x", "y", "z"]].to_numpy()
    expected = np.array([published[i] for i in atlas.labels["index"]])
    return np.linalg.norm(xyz - expected, axis=1)


def test_all_parcels_are_there_and_column_j_is_label_j_plus_one(a424):
    assert a424.n_rois == 424
    assert a424.labels["index"].tolist() == list(range(1, 425))


def test_centroids_are_the_published_coordinates_to_three_millimetres(a424, folder):
    found = distances(a424, folder)
    assert np.median(found) == pytest.approx(3.2, abs=0.2)
    assert found.max() < 14
    mirrored = a424.labels.assign(x=-a424.labels["x"])
    flipped = Atlas("A424", "MNI152NLin6Asym", mirrored, None, False, "")
    assert np.median(distances(flipped, folder)) > 40, "left is not right"


def test_the_file_that_lacks_a_label_has_a_parcel_less_and_keeps_the_numbers(folder):
    atlas = atlas_from_image(folder / "A424.nii.gz", "A424", "MNI152NLin6Asym")
    assert atlas.n_rois == 423
    assert 120 not in set(atlas.labels["index"])
    assert np.median(distances(atlas, folder)) < 4
