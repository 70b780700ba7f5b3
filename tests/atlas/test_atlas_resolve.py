"""Which atlas a configuration selects, and the message if there is none."""

from __future__ import annotations

import io
import socket
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from brainmass_core.atlas import (
    PUBLISHED,
    SHA256,
    VORONOI,
    AtlasError,
    digest_of,
    network_of,
    published_labels,
    read_labels,
    read_lut,
    resolve_atlas,
    voronoi_image,
)
from brainmass_core.atlas import schaefer as schaefer_module
from brainmass_core.atlas.parcels import parcels, places
from brainmass_core.config import Config, ConfigError, parse_config
from brainmass_core.spaces import FSL, ICBM_2009A, ICBM_2009C
from brainmass_core.spaces.bridges import bridge

FILE = "Schaefer2018_100Parcels_7Networks_order_FSLMNI152_2mm.nii.gz"
SYNTHETIC = {"kind": "bids", "role": "internal", "path": "x", "synthetic": {}}


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No network and an empty nilearn cache."""
    monkeypatch.setenv("BRAINMASS_OFFLINE", "1")
    monkeypatch.setenv("NILEARN_DATA", str(tmp_path / "cache"))
    monkeypatch.delenv("NILEARN_SHARED_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "cache"


@pytest.fixture
def schaefer(shared_data: Path) -> Path:
    return shared_data / "atlas_schaefer100" / FILE


def config(tmp_path: Path, dataset: dict | None = None, **atlas: object) -> Config:
    real = {"kind": "bids", "role": "internal", "path": str(tmp_path)}
    return parse_config({"datasets": {"a": dataset or real}, "atlas": atlas})


def small_atlas(path: Path, values: tuple[int, ...] = (1, 2, 5), dtype=np.int16) -> Path:
    data = np.zeros((6, 6, 6), dtype=dtype)
    for i, value in enumerate(values):
        data[2 * (i % 3) : 2 * (i % 3) + 2, 1:3, 1:3] = value
    nib.save(nib.Nifti1Image(data, np.diag([2.0, 2, 2, 1])), path)
    return path


def test_published_table_has_100_parcels_in_seven_networks() -> None:
    table = published_labels()
    assert table["index"].tolist() == list(range(1, 101))
    assert table["network"].nunique() == 7
    assert [network_of(n) for n in table["name"]] == table["network"].tolist()
    left = table["name"].str.contains("_LH_")
    assert (table.loc[left, "x"] < 0).all()
    assert (table.loc[~left, "x"] > 0).all()


def test_real_data_without_an_atlas_stop_with_three_remedies(tmp_path: Path, nowhere: Path) -> None:
    with pytest.raises(AtlasError) as error:
        resolve_atlas(config(tmp_path))
    for remedy in ("atlas.path", str(nowhere / "schaefer_2018" / FILE), "internet"):
        assert remedy in str(error.value)


def test_synthetic_data_fall_back_under_a_plain_name(tmp_path: Path) -> None:
    found = resolve_atlas(config(tmp_path, SYNTHETIC))
    assert (found.name, found.approximate, found.n_rois) == (VORONOI, True, 100)


def test_one_real_data_set_of_images_forbids_the_fallback(tmp_path: Path) -> None:
    real = {"kind": "bids", "role": "pretrain", "path": str(tmp_path)}
    mixed = parse_config({"datasets": {"a": SYNTHETIC, "b": real}})
    with pytest.raises(AtlasError):
        resolve_atlas(mixed)


def test_no_other_schaefer_atlas_falls_back(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match="200Parcels"):
        resolve_atlas(config(tmp_path, SYNTHETIC, name="Schaefer2018-200-7networks"))


def test_voronoi_gives_every_voxel_to_the_nearest_centroid() -> None:
    image, labels = voronoi_image(), published_labels()
    data = np.asarray(image.dataobj)
    voxels = np.argwhere(data > 0)[::97]
    points = nib.affines.apply_affine(image.affine, voxels)
    centroids = labels[["x", "y", "z"]].to_numpy()
    distance = np.linalg.norm(points[:, None] - centroids[None], axis=-1)
    own = distance[np.arange(len(points)), data[tuple(voxels.T)] - 1]
    np.testing.assert_allclose(own, distance.min(axis=1))
    assert np.bincount(data.ravel())[1:].min() > 300


def test_the_cache_of_nilearn_is_used(tmp_path: Path, nowhere: Path, schaefer: Path) -> None:
    folder = nowhere / "schaefer_2018"
    folder.mkdir(parents=True)
    (folder / FILE).symlink_to(schaefer)
    found = resolve_atlas(config(tmp_path, SYNTHETIC))
    assert (found.name, found.approximate, found.sha256) == (PUBLISHED, False, SHA256[PUBLISHED])


def test_a_damaged_cache_is_refused(tmp_path: Path, nowhere: Path, schaefer: Path) -> None:
    folder = nowhere / "schaefer_2018"
    folder.mkdir(parents=True)
    image = read_labels(schaefer)
    data = np.asarray(image.dataobj).copy()
    data[40, 50, 50:60] = 1
    nib.save(nib.Nifti1Image(data, image.affine), folder / FILE)
    with pytest.raises(AtlasError, match="checksum"):
        resolve_atlas(config(tmp_path))


def test_a_network_that_never_answers_is_asked_once_and_with_the_short_limit(
    tmp_path: Path, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = schaefer_module.urllib.request.urlopen

    def urlopen(*request: object, timeout: float) -> object:
        asked.append(timeout)
        return real(*request, timeout=timeout)

    def fetch(*_: object, **__: object) -> None:
        asked.append("nilearn, which waits for a minute")

    monkeypatch.setattr(schaefer_module.urllib.request, "urlopen", urlopen)
    monkeypatch.setattr("nilearn.datasets.fetch_atlas_schaefer_2018", fetch)
    monkeypatch.delenv("BRAINMASS_OFFLINE")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(schaefer_module, "CBIG", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(schaefer_module, "TIMEOUT", 0.3)
        with pytest.raises(AtlasError, match=r"atlas\.path"):
            resolve_atlas(config(tmp_path))
    assert asked == [0.3]
    assert not nowhere.exists()


def test_what_is_downloaded_is_checked(
    tmp_path: Path, nowhere: Path, schaefer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network is replaced; the check of the downloaded files is real."""

    def fetch(*_: object, data_dir: str, **__: object) -> None:
        (Path(data_dir) / "schaefer_2018" / FILE).write_bytes(arrives)

    monkeypatch.delenv("BRAINMASS_OFFLINE")
    monkeypatch.setattr(schaefer_module.urllib.request, "urlopen", lambda *_, **__: io.BytesIO())
    monkeypatch.setattr("nilearn.datasets.fetch_atlas_schaefer_2018", fetch)
    arrives = small_atlas(tmp_path / "other.nii.gz").read_bytes()
    with pytest.raises(AtlasError):
        resolve_atlas(config(tmp_path))
    (nowhere / "schaefer_2018" / FILE).unlink()
    arrives = schaefer.read_bytes()
    assert resolve_atlas(config(tmp_path)).sha256 == SHA256[PUBLISHED]


def test_the_digest_ignores_compression_and_data_type(tmp_path: Path, schaefer: Path) -> None:
    image = read_labels(schaefer)
    other = nib.Nifti1Image(np.asarray(image.dataobj).astype(np.float32), image.affine)
    nib.save(other, tmp_path / "same.nii")
    assert digest_of(read_labels(tmp_path / "same.nii")) == SHA256[PUBLISHED]


def test_centroids_of_the_image_lie_at_the_published_ones(tmp_path: Path, schaefer: Path) -> None:
    found = resolve_atlas(config(tmp_path, path=str(schaefer)))
    away = np.linalg.norm(
        found.labels[["x", "y", "z"]] - published_labels()[["x", "y", "z"]], axis=1
    )
    assert np.median(away) < 3
    assert found.labels["network"].tolist() == published_labels()["network"].tolist()


def test_another_order_does_not_get_the_published_names(tmp_path: Path, shared_data: Path) -> None:
    other = FILE.replace("7Networks", "17Networks")
    path = shared_data / "atlas_schaefer100" / other
    with pytest.raises(AtlasError, match="another atlas"):
        resolve_atlas(config(tmp_path, path=str(path)))


def test_any_label_image_works_and_n_rois_follows(tmp_path: Path) -> None:
    path = small_atlas(tmp_path / "a.nii.gz")
    found = resolve_atlas(config(tmp_path, path=str(path), name="mine", space=FSL))
    assert found.n_rois == 3
    assert found.labels["index"].tolist() == [1, 2, 5]
    assert found.labels.loc[1, ["x", "y", "z"]].tolist() == [5.0, 3.0, 3.0]


def test_names_come_from_the_look_up_table(tmp_path: Path) -> None:
    path = small_atlas(tmp_path / "a.nii.gz")
    lut = pd.DataFrame(
        {
            "index": [0, 1, 2, 3, 5],
            "name": ["background", "7Networks_LH_Vis_1", "b", "unused", "7Networks_RH_Cont_Par_1"],
        }
    )
    lut.to_csv(tmp_path / "lut.tsv", sep="\t", index=False)
    found = resolve_atlas(
        config(tmp_path, path=str(path), labels=str(tmp_path / "lut.tsv"), name="mine", space=FSL)
    )
    assert found.labels["name"].tolist() == lut["name"].iloc[[1, 2, 4]].tolist()
    assert found.labels["network"].tolist() == ["Vis", "", "Cont"]


def test_a_label_without_a_row_is_named(tmp_path: Path) -> None:
    path = small_atlas(tmp_path / "a.nii.gz")
    (tmp_path / "lut.csv").write_text("index,name\n1,a\n2,b\n")
    with pytest.raises(AtlasError, match=r"labels \[5\]"):
        resolve_atlas(
            config(tmp_path, path=str(path), labels=str(tmp_path / "lut.csv"), name="m", space=FSL)
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [("value,name\n1,a\n", "found columns"), ("index,name\n1,a\n1,b\n", "occurs twice")],
)
def test_a_bad_look_up_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "lut.csv").write_text(text)
    with pytest.raises(AtlasError, match=message):
        read_lut(tmp_path / "lut.csv")


def test_values_between_labels_are_refused(tmp_path: Path) -> None:
    path = small_atlas(tmp_path / "a.nii.gz", (1, 1.5, 2), np.float32)
    with pytest.raises(AtlasError, match=r"1\.5"):
        read_labels(path)


def test_a_probabilistic_atlas_is_refused(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.ones((3, 3, 3, 4), np.float32), np.eye(4)), tmp_path / "p.nii.gz")
    with pytest.raises(AtlasError, match="one label per voxel"):
        read_labels(tmp_path / "p.nii.gz")


def test_a_truncated_atlas_is_refused(tmp_path: Path) -> None:
    path = small_atlas(tmp_path / "a.nii.gz")
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(AtlasError, match="not a readable label image"):
        read_labels(path)


def test_a_wrong_number_of_parcels_is_refused(tmp_path: Path) -> None:
    path = small_atlas(tmp_path / "a.nii.gz")
    with pytest.raises(AtlasError, match="n_rois is 7"):
        resolve_atlas(config(tmp_path, path=str(path), name="mine", space=FSL, n_rois=7))


class TestSpace:
    """An atlas of images has a named space."""

    def test_the_published_file_is_known_by_its_voxels(
        self, tmp_path: Path, schaefer: Path
    ) -> None:
        (tmp_path / "a.nii.gz").symlink_to(schaefer)
        assert resolve_atlas(config(tmp_path, path=str(tmp_path / "a.nii.gz"))).space == FSL

    @pytest.mark.parametrize(
        ("file", "space"),
        [
            ("tpl-MNI152NLin2009cAsym_res-02_atlas-x_dseg.nii.gz", ICBM_2009C),
            ("x_space-MNIInfant_dseg.nii.gz", "MNIInfant"),
            ("Schaefer2018_200Parcels_17Networks_order_FSLMNI152_1mm.nii.gz", FSL),
        ],
    )
    def test_others_say_it_by_their_name(self, tmp_path: Path, file: str, space: str) -> None:
        path = small_atlas(tmp_path / file)
        assert resolve_atlas(config(tmp_path, path=str(path), name="mine")).space == space

    def test_or_the_configuration_says_it(self, tmp_path: Path) -> None:
        path = small_atlas(tmp_path / "a.nii.gz")
        found = resolve_atlas(config(tmp_path, path=str(path), name="x", space="mni152nlin6ASym"))
        assert found.space == FSL

    def test_an_image_of_which_nobody_says_it_is_refused(self, tmp_path: Path) -> None:
        path = small_atlas(tmp_path / "a.nii.gz")
        with pytest.raises(AtlasError) as error:
            resolve_atlas(config(tmp_path, path=str(path), name="x"))
        for part in (str(path), "atlas.space", FSL, ICBM_2009A, ICBM_2009C):
            assert part in str(error.value)

    def test_mni152_alone_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"atlas\.space.*several templates share.*6Asym"):
            config(tmp_path, space="MNI152")
        path = small_atlas(tmp_path / "a_space-MNI152_dseg.nii.gz")
        with pytest.raises(AtlasError, match="several templates share"):
            resolve_atlas(config(tmp_path, path=str(path), name="x", space=FSL))

    def test_contradictions_are_refused(self, tmp_path: Path, schaefer: Path) -> None:
        with pytest.raises(AtlasError, match=r"atlas\.space says .*2009cAsym but its checksum"):
            resolve_atlas(config(tmp_path, path=str(schaefer), space=ICBM_2009C))
        path = small_atlas(tmp_path / "tpl-MNI152NLin2009cAsym_dseg.nii.gz")
        with pytest.raises(AtlasError, match="but its name says MNI152NLin2009cAsym"):
            resolve_atlas(config(tmp_path, path=str(path), name="x", space=FSL))

    def test_the_approximation_lies_where_synthetic_heads_do(self, tmp_path: Path) -> None:
        assert resolve_atlas(config(tmp_path, SYNTHETIC)).space == ICBM_2009A

    def test_parcels_are_drawn_in_the_space_of_figures(self, tmp_path: Path) -> None:
        study = config(tmp_path, SYNTHETIC)
        published, own = parcels(study, PUBLISHED, 100), parcels(study, VORONOI, 100)
        xyz = published[["x", "y", "z"]].to_numpy()
        np.testing.assert_array_equal(places(own), xyz)
        np.testing.assert_array_equal(places(published), bridge(FSL, ICBM_2009A)(xyz))
        np.testing.assert_array_equal(places(published, FSL), xyz)
        assert 1 < np.linalg.norm(places(published) - xyz, axis=1).mean() < 4
        np.testing.assert_array_equal(
            places(published.assign(space="")), xyz
        )  # the space is unknown
        assert np.isnan(places(published.assign(space="MNIInfant"))).all()


class TestReadySeries:
    """Kind `timeseries` needs no image."""

    @pytest.fixture
    def dataset(self, tmp_path: Path) -> dict:
        return {"kind": "timeseries", "role": "pretrain", "path": str(tmp_path), "t_r": 2.0}

    def test_n_rois_suffices(self, tmp_path: Path, dataset: dict) -> None:
        found = resolve_atlas(config(tmp_path, dataset, name="CC200", n_rois=200))
        assert (found.n_rois, found.image, found.space) == (200, None, None)
        with pytest.raises(AtlasError, match="no label image"):
            found.load()

    def test_schaefer_is_known_by_name(self, tmp_path: Path, dataset: dict) -> None:
        found = resolve_atlas(config(tmp_path, dataset))
        assert (found.name, found.n_rois, found.approximate) == (PUBLISHED, 100, False)

    def test_an_unknown_number_of_parcels_is_refused(self, tmp_path: Path, dataset: dict) -> None:
        with pytest.raises(AtlasError, match=r"give atlas\.n_rois"):
            resolve_atlas(config(tmp_path, dataset, name="CC200"))
