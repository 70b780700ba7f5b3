"""An atlas as arrays, in the order of its parcels; invalid images are refused."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from brainmass_core import load_atlas
from brainmass_core.atlas import AtlasError, published_labels

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
TABLE = "index\tname\tnetwork\n7\tright\tDefault\n2\tleft\tVis\n"


@pytest.fixture
def image(tmp_path):
    """Two parcels: a slab at i = 1 with label 2, one voxel at (4, 3, 2) with label 7."""
    data = np.zeros((6, 6, 6), np.int16)
    data[1], data[4, 3, 2] = 2, 7
    file = tmp_path / "tpl-MNI152NLin2009cAsym_atlas-toy_dseg.nii.gz"
    nib.save(nib.Nifti1Image(data, AFFINE), file)
    return file


@pytest.fixture
def labels(tmp_path):
    file = tmp_path / "toy.tsv"
    file.write_text(TABLE)
    return file


def test_parcels_of_an_image_are_in_the_order_of_their_labels(image, labels):
    atlas = load_atlas(image, labels)
    assert_array_equal(atlas.index, [2, 7])
    assert_array_equal(atlas.names, ["left", "right"])
    assert_array_equal(atlas.networks, ["Vis", "Default"])
    assert_allclose(atlas.centres, [[2, 5, 5], [8, 6, 4]])
    assert atlas.space == "MNI152NLin2009cAsym"
    assert len(atlas) == 2


def test_an_image_alone_has_numbered_parcels_and_a_table_alone_no_centres(image, labels):
    assert_array_equal(load_atlas(image).names, ["roi-2", "roi-7"])
    table = load_atlas(labels=labels)
    assert_array_equal(table.names, ["left", "right"])
    assert np.isnan(table.centres).all()
    assert table.space is None
    assert load_atlas(labels=labels, space="MNI152NLin6Asym").space == "MNI152NLin6Asym"


def test_without_files_it_is_the_published_atlas():
    atlas, published = load_atlas(), published_labels()
    assert_array_equal(atlas.names, published["name"])
    assert_allclose(atlas.centres, published[["x", "y", "z"]])
    assert (len(atlas), len(set(atlas.networks)), atlas.space) == (100, 7, "MNI152NLin6Asym")


def test_what_does_not_fit_is_refused_by_name(image, labels, tmp_path):
    labels.write_text(TABLE.replace("7\t", "8\t"))
    with pytest.raises(AtlasError, match=r"toy_dseg.*the labels \[7\].*have no row"):
        load_atlas(image, labels)
    with pytest.raises(AtlasError, match=r"toy_dseg.*space says MNI152NLin6Asym but its name"):
        load_atlas(image, space="MNI152NLin6Asym")
    with pytest.raises(AtlasError, match=r"space: .*MNI152"):
        load_atlas(labels=labels, space="MNI152")
    with pytest.raises(AtlasError, match=r"gone\.nii"):
        load_atlas(tmp_path / "gone.nii")
    with pytest.raises(AtlasError, match=r"gone\.tsv"):
        load_atlas(labels=tmp_path / "gone.tsv")
