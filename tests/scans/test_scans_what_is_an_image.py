"""What is a scan of raw BIDS, of derivatives and of ready series, and what is none."""

from __future__ import annotations

import gzip
import os

import nibabel as nib
import numpy as np
import pytest

from brainmass_core.pipeline.manifest import ScanExcluded
from brainmass_core.readers.files import FileError, check_length
from brainmass_core.scans import ScansError
from brainmass_core.scans.image import read_header

BOLD = "sub-01/func/sub-01_task-rest_space-MNI152NLin2009cAsym_desc-preproc_bold"


def derived(bids, sub="01", echo=None):
    """A run as fMRIPrep leaves it, or one echo of it, in native space as it leaves these."""
    base = f"sub-{sub}/func/sub-{sub}_task-rest"
    space = "_space-MNI152NLin2009cAsym" if echo is None else f"_echo-{echo}"
    bids.json(f"{base}{space}_desc-preproc_bold.json", RepetitionTime=2.0)
    if echo is None:
        bids.image(f"{base}{space}_desc-brain_mask.nii.gz", (3, 3, 4))
        bids.text(f"{base}_desc-confounds_timeseries.tsv", "trans_x\n" + "0\n" * 10)
    return bids.image(f"{base}{space}_desc-preproc_bold.nii.gz")


@pytest.mark.parametrize(
    "about",
    [
        {"DatasetType": "derivative", "GeneratedBy": [{"Name": "fMRIPrep"}]},
        {"DatasetType": "derivative"},
        {"PipelineDescription": {"Name": "fMRIPrep"}},  # before BIDS 1.4
    ],
)
def test_derivatives_declared_as_raw_are_refused_with_the_remedy(bids, listed, about):
    bids.run(), bids.t1w()
    bids.json("dataset_description.json", Name="x", BIDSVersion="1.4.0", **about)
    with pytest.raises(ScansError, match="set kind: derivatives"):
        listed(bids.root)


def test_derivatives_that_do_not_say_so_are_known_by_their_names(bids, listed):
    derived(bids), bids.t1w()
    with pytest.raises(ScansError, match=r"desc-preproc_bold.*set kind: derivatives"):
        listed(bids.root)


def test_raw_data_that_a_converter_has_written_stay_raw(bids, listed):
    bids.run(), bids.t1w()
    about = {"DatasetType": "raw", "GeneratedBy": [{"Name": "HeuDiConv"}]}
    bids.json("dataset_description.json", Name="x", BIDSVersion="1.4.0", **about)
    assert listed(bids.root).excluded_reason.isna().all()


def test_images_of_a_pipeline_among_raw_ones_are_never_scans(bids, listed, caplog):
    bids.run()
    t1w = bids.t1w()
    derived(bids)
    bids.t1w("sub-01_desc-preproc")
    bids.t1w("sub-01_space-MNI152NLin2009cAsym")
    scans = listed(bids.root)
    assert scans.index.tolist() == ["d_sub-01_task-rest"]
    assert scans.t1w_path.tolist() == [str(t1w)]
    assert "desc-" in caplog.text


@pytest.mark.parametrize("rule", ["single", "first", "last"])
@pytest.mark.parametrize("part", ["phase", "real", "imag"])
def test_only_the_magnitude_of_a_t1w_is_chosen(bids, listed, rule, part):
    bids.run()
    magnitude = bids.t1w("sub-01_part-mag")
    bids.t1w(f"sub-01_part-{part}")
    assert listed(bids.root, t1w=rule).t1w_path.tolist() == [str(magnitude)]


def test_echoes_beside_their_combination_are_no_scans(bids, listed):
    combined = derived(bids)
    for echo in (1, 2, 3):
        derived(bids, echo=echo)
    scans = listed(bids.root, kind="derivatives")
    assert scans.bold_path.tolist() == [str(combined)]
    assert scans.excluded_reason.isna().all()


def test_echoes_alone_are_one_exclusion(bids, listed):
    derived(bids, "02")
    for echo in (1, 2, 3):
        derived(bids, echo=echo)
    scans = listed(bids.root, kind="derivatives")
    assert scans.excluded_reason.notna().tolist() == [True, False]
    reason = scans.excluded_reason.iloc[0]
    assert "echo 1 of a multi-echo run" in reason
    assert ";" in reason
    assert "confounds" not in reason


@pytest.mark.parametrize("kind", ["bids", "derivatives"])
@pytest.mark.parametrize(
    "name",
    [
        "sub-01_task-rest_space-fsLR_den-91k_bold.dtseries.nii",
        "sub-01_task-rest_hemi-L_space-fsaverage5_bold.func.gii",
    ],
)
def test_surfaces_are_said_plainly(bids, listed, kind, name):
    bids.text(f"sub-01/func/{name}", "x")
    with pytest.raises(ScansError, match=r"CIFTI or GIFTI.*volumes are needed"):
        listed(bids.root, kind=kind)


def test_cifti_under_the_name_of_an_image_is_said_plainly(tmp_path):
    axis = nib.cifti2.SeriesAxis(0, 2, 4)
    parcels = nib.cifti2.ScalarAxis(["a", "b"])
    path = tmp_path / "sub-01_bold.nii"
    nib.Cifti2Image(np.zeros((4, 2), np.float32), header=(axis, parcels)).to_filename(path)
    with pytest.raises(ScanExcluded, match="CIFTI"):
        read_header(path)


def test_series_as_cifti_are_said_plainly(tmp_path, listed):
    (tmp_path / "sub-01_timeseries.ptseries.nii").write_bytes(b"x")
    with pytest.raises(ScansError, match="image or CIFTI"):
        listed(tmp_path, kind="timeseries", t_r=2.0)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_file_longer_than_its_header_says_is_refused(bids, suffix):
    path = bids.image(f"sub-01/func/sub-01_task-rest_bold{suffix}")
    assert read_header(path).shape == (3, 3, 4, 10)
    content = path.read_bytes()
    content = gzip.decompress(content) if suffix == ".nii.gz" else content
    content += b"\1" * 400
    path.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
    with pytest.raises(ScanExcluded, match="volumes were added"):
        read_header(path)


def test_a_file_compressed_in_parts_is_as_long_as_all_of_them(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"a" * 1000) + gzip.compress(b"b" * 10))
    check_length(path, 1010, 10)
    with pytest.raises(FileError, match="volumes were added"):
        check_length(path, 900, 10)


def spoil(path, how):
    path.unlink()
    (path.parents[2] / ".git/annex").mkdir(parents=True, exist_ok=True)
    if how == "annex link":
        path.symlink_to("../../.git/annex/objects/aa/bb/MD5E-s1--x.nii.gz")
    elif how == "annex pointer":
        path.write_text("/annex/objects/MD5E-s123--abc.nii.gz\n")
    elif how == "lfs pointer":
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n")
    elif how == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)


REMEDIES = {
    "annex link": "datalad get",
    "annex pointer": "datalad get",
    "lfs pointer": "git lfs pull",
    "folder": "a folder",
    "pipe": "a named pipe",
}


@pytest.mark.parametrize(
    ("what", "how"),
    [*(("image", how) for how in REMEDIES), ("sidecar", "annex link"), ("t1w", "annex pointer")],
)
def test_what_was_not_fetched_or_is_no_file_costs_its_scan_with_the_remedy(bids, listed, how, what):
    run, t1w = bids.run(), bids.t1w()
    bids.run("sub-02_task-rest"), bids.t1w("sub-02")
    sidecar = run.with_name("sub-01_task-rest_bold.json")
    spoil({"image": run, "sidecar": sidecar, "t1w": t1w}[what], how)
    reasons = listed(bids.root).excluded_reason
    assert reasons["d_sub-02_task-rest"] is None
    if "d_sub-01_task-rest" in reasons:  # the indexer lists no folders
        assert REMEDIES[how] in reasons["d_sub-01_task-rest"] or how == "folder"
    else:
        assert how == "folder"


@pytest.mark.parametrize(
    ("what", "how"),
    [("desc-brain_mask.nii.gz", "annex pointer"), ("desc-confounds_timeseries.tsv", "pipe")],
)
def test_a_mask_or_table_that_was_not_fetched_costs_its_scan(bids, listed, how, what):
    derived(bids)
    (path,) = bids.root.glob(f"**/*{what}")
    spoil(path, how)
    (reason,) = listed(bids.root, kind="derivatives").excluded_reason
    assert REMEDIES[how] in reason


def test_a_participant_that_is_a_link_to_nothing_is_one_excluded_scan(bids, listed):
    bids.run(), bids.t1w()
    (bids.root / "sub-14").symlink_to("/nonexistent/sub-14")
    (bids.root / "sub-01.html").symlink_to(".git/annex/objects/x")  # a report that is no folder
    scans = listed(bids.root)
    assert list(scans.index) == ["d_sub-01_task-rest", "d_sub-14"]
    assert scans.excluded_reason.iloc[0] is None
    assert (
        "a broken link in place of the folder of a participant"
        in (scans.loc["d_sub-14", "excluded_reason"])
    )


def test_a_loop_of_links_makes_no_scan_twice(bids, listed, caplog):
    run = bids.run()
    bids.t1w()
    (run.parent / "again").symlink_to(bids.root / "sub-01")
    (reason,) = listed(bids.root).excluded_reason
    assert reason is None
    assert "a link leads back to a folder" in caplog.text


def npz(folder, sub, **arrays):
    rng = np.random.default_rng(sub)
    series = rng.normal(size=(9, 4))
    np.savez(folder / f"sub-0{sub}.npz", ts=series, fc=np.corrcoef(series.T), **arrays)


def test_files_of_several_arrays_are_asked_which_is_the_series(tmp_path, listed):
    for sub in (1, 2):
        npz(tmp_path, sub)
    with pytest.raises(ScansError, match=r"contains the arrays ts, fc.*d\.array"):
        listed(tmp_path, kind="timeseries", t_r=2.0)
    scans = listed(tmp_path, kind="timeseries", t_r=2.0, array="ts")
    assert scans.index.tolist() == ["d_sub-01", "d_sub-02"]
    assert scans.bold_key.tolist() == ["ts", "ts"]
    assert scans.excluded_reason.isna().all()
    wrong = listed(tmp_path, kind="timeseries", t_r=2.0, array="roi_ts")
    assert wrong.excluded_reason.str.contains("contains the arrays ts, fc").all()


def test_matrices_beside_series_in_one_file_are_no_scans(tmp_path, listed):
    arrays = {}
    for i in (1, 2):
        series = np.random.default_rng(i).normal(size=(9, 4))
        arrays |= {f"sub-0{i}": series, f"sub-0{i}_corr": np.corrcoef(series.T)}
    np.savez(tmp_path / "all.npz", labels=np.array([0, 1]), **arrays)
    reasons = listed(tmp_path, kind="timeseries", t_r=2.0).excluded_reason
    assert reasons[reasons.isna()].index.tolist() == ["d_sub-01", "d_sub-02"]
    assert "a correlation matrix" in reasons["d_sub-01_corr"]
    chosen = listed(tmp_path, kind="timeseries", t_r=2.0, array="sub-0?")
    assert chosen.index.tolist() == ["d_sub-01", "d_sub-02"]


def test_matrices_by_their_names_are_no_scans(tmp_path, listed):
    rng = np.random.default_rng(0)
    for name in ("timeseries", "desc-correlation_matrix", "stat-x_relmat"):
        np.savetxt(tmp_path / f"sub-01_{name}.tsv", rng.normal(size=(9, 4)), delimiter="\t")
    reasons = listed(tmp_path, kind="timeseries", t_r=2.0).excluded_reason
    assert reasons["d_sub-01_timeseries"] is None
    assert (
        reasons.dropna().str.contains("matrix between regions by its name").tolist() == [True] * 2
    )


def geometry(path, change):
    """Change the header of an image, bytes included, that nibabel would put right."""
    image = nib.load(path)
    again = nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header)
    if change == "no sides":
        raw = bytearray(again.to_bytes())
        raw[252:256] = b"\0\0\0\0"  # qform_code, sform_code
        path.write_bytes(gzip.compress(bytes(raw)))
        return
    affine = {"metres": np.diag([0.003, 0.003, 0.003, 1]), "microns": np.diag([3e3, 3e3, 3e3, 1])}
    again.set_sform(affine.get(change, np.eye(4)), code=1)
    again.set_qform(np.diag([-1.0, 1, 1, 1]) if change == "two sides" else None, code=1)
    again.to_filename(path)


GEOMETRY = {
    "metres": "voxels of 0.003 x 0.003 x 0.003 (unit in the header: mm), expected 0.1 to 100 mm",
    "microns": "voxels of 3000 x 3000 x 3000",
    "no sides": "does not state which side is left",
    "two sides": "two orientations, LAS (qform) and RAS (sform)",
}


@pytest.mark.parametrize("change", GEOMETRY)
@pytest.mark.parametrize("what", ["bold", "t1w"])
def test_an_image_without_sizes_or_sides_is_one_excluded_scan(bids, listed, change, what):
    run, t1w = bids.run(), bids.t1w()
    bids.run("sub-02_task-rest"), bids.t1w("sub-02")
    path = {"bold": run, "t1w": t1w}[what]
    geometry(path, change)
    reasons = listed(bids.root).excluded_reason
    assert reasons["d_sub-02_task-rest"] is None
    assert f"{path}: " in reasons["d_sub-01_task-rest"]
    assert GEOMETRY[change] in reasons["d_sub-01_task-rest"]


def test_two_descriptions_of_one_orientation_are_accepted(bids, listed):
    run = bids.run()
    bids.t1w()
    image = nib.load(run)
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]
    image.set_qform(turned, code=1)
    image.set_sform(np.eye(4), code=4)
    image.to_filename(run)
    assert list(listed(bids.root).excluded_reason) == [None]


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (256, 9.0, "its qform or sform is damaged"),
        (268, np.nan, "its qform or sform is damaged"),
        (280, np.nan, "voxels of nan"),
    ],
    ids=["turn", "shift", "sform"],
)
def test_a_damaged_orientation_excludes_one_scan(tmp_path, place, value, said):
    path = tmp_path / "a_bold.nii"
    image = nib.Nifti1Image(np.ones((4, 4, 4, 5), np.float32), np.eye(4))
    image.set_qform(np.eye(4), code=1)
    nib.save(image, path)
    raw = bytearray(path.read_bytes())
    raw[place : place + 4] = np.float32(value).tobytes()
    path.write_bytes(raw)
    with pytest.raises(ScanExcluded, match=rf"a_bold\.nii: {said}"):
        read_header(path)
