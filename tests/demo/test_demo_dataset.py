"""The synthetic data set is labelled as such, has the effects that it documents, and is
reproducible.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from brainmass_core.atlas import published_labels
from brainmass_core.config.inputs import Synthetic
from brainmass_core.connectivity import pearson
from brainmass_core.demo import draw_participants, dynamics, scanner, write_demo

SIZE = Synthetic(n_participants=4, n_volumes=40, voxel_size=6.0)
MOVER, TRUNCATED = "sub-03", "sub-04"


@pytest.fixture(scope="session")
def demo(built_once: Callable[..., Path]) -> Path:
    return built_once("demo", lambda folder: write_demo(folder, SIZE))


def truth(demo: Path, participant: str, what: str) -> pd.DataFrame:
    path = demo / f"derivatives/truth/{participant}/func/{participant}_task-rest_{what}.tsv"
    return pd.read_csv(path, sep="\t")


def bold_file(demo: Path, participant: str) -> Path:
    return demo / participant / "func" / f"{participant}_task-rest_bold.nii.gz"


def digests(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_file()
    }


@pytest.mark.study
def test_it_calls_itself_synthetic_wherever_a_reader_looks(demo: Path) -> None:
    about = json.loads((demo / "dataset_description.json").read_text())
    assert "SYNTHETIC" in about["Name"]
    assert "no person was scanned" in about["GeneratedBy"][0]["Description"]
    assert "SYNTHETIC" in (demo / "README").read_text()


@pytest.mark.study
def test_the_same_seed_gives_the_same_bytes(demo: Path, tmp_path: Path) -> None:
    write_demo(tmp_path / "again", SIZE)
    assert digests(tmp_path / "again") == digests(demo)


def test_nothing_but_a_synthetic_data_set_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="left alone"):
        write_demo(tmp_path / "mine", SIZE)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("brainmass_core.demo._write_participant", full)
    with pytest.raises(OSError, match="No space"):
        write_demo(tmp_path / "demo", SIZE)
    assert list(tmp_path.iterdir()) == []


def test_participants_are_balanced_over_groups_and_sites() -> None:
    table = pd.DataFrame(vars(p) for p in draw_participants(Synthetic(n_participants=12)))
    assert table.groupby(["diagnosis", "site"]).size().to_list() == [3, 3, 3, 3]
    assert (table["defect"] != "").sum() == 2


@pytest.mark.study
def test_participants_table_fits_the_folders(demo: Path) -> None:
    table = pd.read_csv(demo / "participants.tsv", sep="\t")
    assert list(table) == ["participant_id", "diagnosis", "site", "age", "sex"]
    assert sorted(table["participant_id"]) == sorted(p.name for p in demo.glob("sub-*"))


@pytest.mark.study
def test_images_fit_their_sidecars(demo: Path) -> None:
    shared = json.loads((demo / "task-rest_bold.json").read_text())
    for participant in ("sub-01", "sub-02", "sub-03"):
        image = nib.load(bold_file(demo, participant))
        own = json.loads(
            bold_file(demo, participant).with_suffix("").with_suffix(".json").read_text()
        )
        assert image.shape == (*scanner.bold_shape(6.0), 40)
        assert image.header.get_zooms()[3] == shared["RepetitionTime"] == SIZE.t_r
        assert len(own["SliceTiming"]) == image.shape[2]
        assert 0 == min(own["SliceTiming"]) < max(own["SliceTiming"]) < SIZE.t_r


@pytest.mark.study
def test_one_participant_moves_too_much_and_the_others_do_not(demo: Path) -> None:
    mean_fd = {
        p: truth(demo, p, "motion")["framewise_displacement"].mean()
        for p in ("sub-01", "sub-02", MOVER, TRUNCATED)
    }
    assert mean_fd.pop(MOVER) > 0.7
    assert max(mean_fd.values()) < 0.3


@pytest.mark.study
def test_one_file_is_truncated_and_the_others_are_not(demo: Path) -> None:
    for participant in ("sub-01", "sub-02", MOVER):
        assert np.isfinite(nib.load(bold_file(demo, participant)).get_fdata()).all()
    with pytest.raises(EOFError), gzip.open(bold_file(demo, TRUNCATED)) as file:
        file.read()


@pytest.mark.study
def test_bold_is_in_the_brain_and_air_is_dark(demo: Path) -> None:
    mean = nib.load(bold_file(demo, "sub-01")).get_fdata().mean(axis=3)
    litres = (mean > 40).sum() * 6.0**3 / 1e6
    assert 1.2 < litres < 2.6
    assert (mean[[0, -1]] == 0).mean() > 0.9


@pytest.mark.study
def test_t1w_and_bold_lie_in_different_places(demo: Path) -> None:
    for participant in ("sub-01", "sub-02"):
        path = demo / f"derivatives/truth/{participant}/func/{participant}_task-rest_xfm.json"
        matrix = np.array(json.loads(path.read_text())["t1w_to_boldref"])
        np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-12)
        assert np.linalg.norm(matrix - np.eye(4)) > 0.5


@pytest.mark.study
def test_networks_cohere(demo: Path) -> None:
    network = published_labels()["network"].to_numpy()
    r = np.mean([pearson(truth(demo, f"sub-0{i}", "timeseries").to_numpy()) for i in (1, 2, 3)], 0)
    same = network[:, None] == network[None, :]
    np.fill_diagonal(same, False)
    assert r[same].mean() > r[network[:, None] != network[None, :]].mean() + 0.3


class TestDynamics:
    """The planted activity."""

    def test_correlations_of_networks_are_possible(self) -> None:
        for group in ("control", "patient"):
            assert np.linalg.eigvalsh(dynamics.network_correlation(group)).min() > 0.05

    def test_the_groups_differ_in_one_pair_only(self) -> None:
        difference = dynamics.network_correlation("patient") - dynamics.network_correlation(
            "control"
        )
        (pair,) = np.argwhere(np.triu(difference))
        assert [dynamics.NETWORKS[i] for i in pair] == ["DorsAttn", "Default"]

    def test_the_group_difference_is_in_the_signals(self) -> None:
        networks = published_labels()["network"]
        cross = np.ix_(networks == "Default", networks == "DorsAttn")
        coupling = {"control": [], "patient": []}
        for group, values in coupling.items():
            for seed in range(12):
                rng = np.random.default_rng(seed)
                x = dynamics.parcel_signals(rng, list(networks), group, 200.0)
                values.append(pearson(x)[cross].mean())
        assert np.mean(coupling["patient"]) - np.mean(coupling["control"]) > 0.3

    def test_power_lies_where_bold_fluctuates(self) -> None:
        x = dynamics.low_frequency(np.random.default_rng(0), 4000, 20)
        f = np.fft.rfftfreq(4000, dynamics.DT)
        power = (np.abs(np.fft.rfft(x, axis=0)) ** 2).mean(axis=1)
        assert power[(f > 0.01) & (f < 0.1)].sum() > 0.8 * power.sum()
        assert power[f > 0.2].sum() < 1e-3 * power.sum()
        np.testing.assert_allclose(x.std(), 1, rtol=0.1)

    def test_samples_are_returned_at_their_own_times(self) -> None:
        x = np.random.default_rng(0).standard_normal((50, 3))
        np.testing.assert_allclose(dynamics.at_times(x, np.arange(49) * dynamics.DT), x[:49])


class TestScanner:
    """Motion and timing."""

    @pytest.mark.parametrize("n_slices", [7, 8])
    @pytest.mark.parametrize("odd_first", [False, True])
    def test_every_slice_has_its_own_time(self, n_slices: int, odd_first: bool) -> None:
        times = scanner.interleaved_slice_timing(n_slices, 2.0, odd_first)
        np.testing.assert_allclose(np.sort(times), np.arange(n_slices) * 2.0 / n_slices)
        assert np.abs(np.diff(times)).min() > 2.0 / n_slices
        assert times.argmin() == int(odd_first)

    @pytest.mark.parametrize("mean_fd", [0.1, 0.9])
    def test_motion_has_the_displacement_asked_for(self, mean_fd: float) -> None:
        motion = scanner.random_motion(np.random.default_rng(0), 100, mean_fd)
        np.testing.assert_allclose(scanner.framewise_displacement(motion).mean(), mean_fd)
        np.testing.assert_array_equal(motion[0], 0)

    def test_displacement_equals_powers_formula(self, shared_data: Path) -> None:
        """FSL's six parameters are rotations (rad), then translations (mm)."""
        folder = shared_data / "oracle_nipype"
        motion = np.loadtxt(folder / "fsl_mcflirt_movpar.txt")
        theirs = np.loadtxt(folder / "fsl_motion_outliers_fd.txt", skiprows=0)
        ours = scanner.framewise_displacement(motion[:, [3, 4, 5, 0, 1, 2]])
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
