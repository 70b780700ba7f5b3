"""Raw BIDS: which runs are listed, what is said about each, and why some are left out."""

from __future__ import annotations

import gzip
import os
import shutil

import bids2table
import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainmass_core.pipeline.manifest import ScanExcluded
from brainmass_core.scans import ScansError
from brainmass_core.scans.bids import choose_t1w
from brainmass_core.scans.index import File, Sidecars, index_files


def one(scans):
    assert len(scans) == 1
    return scans.iloc[0]


def test_a_sound_run_has_a_complete_row(bids, listed):
    bold, t1w = bids.run(), bids.t1w()
    row = one(listed(bids.root))
    assert row.name == "d_sub-01_task-rest"
    assert (row.participant_id, row.task, row.session, row.run) == ("sub-01", "rest", None, None)
    assert (row.bold_path, row.t1w_path) == (str(bold), str(t1w))
    assert (row.t_r, row.n_volumes, row.kind, row.batch) == (2.0, 10, "bids", 0)
    assert row.excluded_reason is None


def test_the_label_of_a_run_is_kept_as_written(bids, listed):
    bids.t1w()
    bids.run("sub-01_ses-a1_task-rest_acq-mb_run-01")
    row = one(listed(bids.root))
    assert (row.session, row.run) == ("a1", "01")
    assert row.name == "d_sub-01_ses-a1_task-rest_acq-mb_run-01"


def test_only_the_wanted_task_is_listed(bids, listed):
    bids.t1w()
    bids.run("sub-01_task-rest")
    bids.run("sub-01_task-nback")
    assert list(listed(bids.root, task="rest").task) == ["rest"]
    with pytest.raises(ScansError, match="did you mean 'rest'"):
        listed(bids.root, task="rests")


def test_an_empty_folder_is_an_error_that_names_it(bids, listed):
    with pytest.raises(ScansError, match=f"no BOLD run in {bids.root}"):
        listed(bids.root)


def test_a_folder_with_anatomy_alone_is_an_error(bids, listed):
    bids.t1w()
    with pytest.raises(ScansError, match="found 1 BIDS files"):
        listed(bids.root)


@pytest.mark.parametrize("name", ["ds000030_R1.0.5", ".hidden", "a[1]b"])
def test_folders_that_the_indexer_would_skip_are_listed(bids, listed, name):
    bids.run(), bids.t1w()
    path = bids.root.rename(bids.root.parent / name)
    assert one(listed(path)).excluded_reason is None


def test_each_echo_is_a_row_with_its_reason(bids, listed):
    bids.t1w()
    for echo in (1, 2):
        bids.run(f"sub-01_task-rest_echo-{echo}")
    scans = listed(bids.root)
    assert len(scans) == 2
    assert scans.excluded_reason.str.contains("multi-echo.*tedana").all()


def test_the_phase_of_a_complex_run_is_left_out(bids, listed):
    bids.t1w()
    bids.run("sub-01_task-rest_part-mag")
    bids.run("sub-01_task-rest_part-phase")
    reasons = listed(bids.root).excluded_reason
    assert reasons["d_sub-01_task-rest_part-mag"] is None
    assert "phase" in reasons["d_sub-01_task-rest_part-phase"]


@pytest.mark.parametrize("shape", [(3, 3, 4), (3, 3, 4, 1), (3, 3, 4, 10, 2)])
def test_an_image_that_is_no_series_is_left_out(bids, listed, shape):
    bids.t1w()
    bold = bids.run(shape=shape)
    reason = one(listed(bids.root)).excluded_reason
    assert str(bold) in reason
    assert f"{len(shape)}-D" in reason
    assert "expected a 4-D" in reason


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "link"])
def test_an_unreadable_header_is_left_out(bids, listed, damage):
    bids.t1w()
    bold = bids.run()
    if damage == "link":  # DataLad without content
        (bids.root / ".datalad").mkdir()
        bold.unlink()
        bold.symlink_to("../.git/annex/nowhere")
    else:
        bold.write_bytes({"empty": b"", "text": b"a" * 500, "cut": bold.read_bytes()[:60]}[damage])
    reason = one(listed(bids.root)).excluded_reason
    assert str(bold) in reason
    assert ("datalad get" if damage == "link" else "unreadable NIfTI header") in reason


def test_contradictory_t_r_is_left_out_with_both_values_and_the_remedy(bids, listed):
    bids.t1w()
    bold = bids.run(sidecar=2.5, t_r=2.0)
    row = one(listed(bids.root, t_r=2.5))
    assert row.t_r is None
    for word in (str(bold), "2.5 s in the sidecar", "2 sec", "correct"):
        assert word in row.excluded_reason
    assert one(listed(bids.root, t_r_tolerance=0.6)).t_r == 2.5


def test_t_r_that_is_zero_or_nowhere_is_left_out(bids, listed):
    bids.t1w("sub-01"), bids.t1w("sub-02"), bids.t1w("sub-03")
    bids.run("sub-01_task-rest", sidecar=0)
    bids.run("sub-02_task-rest", sidecar=None, t_r=0)
    bids.run("sub-03_task-rest", sidecar=None, t_r=2000, unit="msec")
    scans = listed(bids.root)
    assert "RepetitionTime in the sidecar is 0" in scans.excluded_reason.iloc[0]
    assert "no t_r" in scans.excluded_reason.iloc[1]
    assert scans.t_r.iloc[2] == 2.0


def test_two_t1w_without_a_rule_leave_out_every_run_of_the_participant(bids, listed):
    first, last = bids.t1w("sub-01_run-2"), bids.t1w("sub-01_run-10")
    bids.t1w("sub-02")
    for stem in ("sub-01_task-rest_run-1", "sub-01_task-rest_run-2", "sub-02_task-rest"):
        bids.run(stem)
    scans = listed(bids.root)
    assert list(scans.excluded_reason.notna()) == [True, True, False]
    for word in (first.name, last.name, "datasets.d.t1w", "`first` or `last`"):
        assert word in scans.excluded_reason.iloc[0]
    for rule, expected in (("first", first), ("last", last)):
        chosen = listed(bids.root, t1w=rule)
        assert chosen.t1w_path.iloc[0] == str(expected)
        assert chosen.excluded_reason.isna().all()


def test_without_a_t1w_the_run_is_left_out(bids, listed):
    bids.run()
    assert "no T1w" in one(listed(bids.root)).excluded_reason


def test_all_reasons_are_given_at_once(bids, listed):
    bids.run(sidecar=0)
    reason = one(listed(bids.root)).excluded_reason
    assert "RepetitionTime" in reason
    assert "no T1w" in reason


def test_a_damaged_t1w_leaves_the_run_out(bids, listed):
    bids.run()
    bids.t1w().write_bytes(b"")
    assert "T1w.nii.gz: unreadable" in one(listed(bids.root)).excluded_reason
    bids.t1w(shape=(3, 3, 4, 2))
    assert "expected 3-D" in one(listed(bids.root)).excluded_reason


sessions = st.sampled_from([None, "1", "2", "3"])


def t1w(session: str | None, run: int) -> File:
    path = bids2table.format_bids_path({"sub": "01", "ses": session, "run": run, "suffix": "T1w"})
    return File(path, {"sub": "01", "run": str(run)} | ({"ses": session} if session else {}))


@given(st.lists(st.tuples(sessions, st.integers(1, 12)), min_size=1, unique=True), sessions)
def test_a_t1w_of_the_own_session_is_never_passed_over(images, session):
    files = [t1w(*image) for image in images]
    bold = t1w(session, 1)
    own = [f for f in files if f.session == session]
    for rule in ("first", "last"):
        chosen = choose_t1w("d", bold, files, rule)
        assert chosen in (own or files)
        assert chosen == choose_t1w("d", bold, files[::-1], rule)
    candidates = own or files
    if len(candidates) == 1:
        assert choose_t1w("d", bold, files, "single") == candidates[0]
    else:
        with pytest.raises(ScanExcluded):
            choose_t1w("d", bold, files, "single")


def test_a_file_in_the_folder_of_another_participant_is_left_out(bids, listed):
    bids.t1w("sub-01"), bids.t1w("sub-02")
    bids.run("sub-01_task-rest")
    (bids.root / "sub-02/func").mkdir()
    bids.run("sub-02_task-rest").rename(bids.root / "sub-01/func/sub-02_task-rest_bold.nii.gz")
    assert "whose scan it is" in listed(bids.root).excluded_reason["d_sub-02_task-rest"]


def test_sidecars_are_inherited_as_bids2table_inherits_them(bids):
    bids.json("task-rest_bold.json", RepetitionTime=3.0, EchoTime=0.03, A="root")
    bids.json("sub-01/sub-01_task-rest_bold.json", A="participant", B="participant")
    bids.json("sub-01/ses-1/sub-01_ses-1_bold.json", B="session")
    bids.json("sub-01/ses-1/func/sub-01_ses-1_task-nback_bold.json", A="another task")
    bids.json("task-rest_T1w.json", A="another suffix")
    bids.run("sub-01_ses-1_task-rest_run-1", sidecar=2.0)
    file = index_files(bids.root)[0]
    metadata = Sidecars(bids.root).of(file)
    assert metadata == bids2table.load_bids_metadata(file.path)
    assert metadata == {"RepetitionTime": 2.0, "EchoTime": 0.03, "A": "participant", "B": "session"}


def test_in_one_folder_the_more_specific_sidecar_wins(bids):
    bids.json("bold.json", A=1, B=1)
    bids.json("task-rest_bold.json", A=2)
    bids.json("task-rest_acq-mb_bold.json", A=3)
    bids.run("sub-01_task-rest")
    assert Sidecars(bids.root).of(index_files(bids.root)[0])["A"] == 2


def test_inheritance_reaches_the_root_behind_a_linked_participant(bids, listed):
    bids.json("task-rest_bold.json", RepetitionTime=2.0)
    bids.run(sidecar=None, t_r=0), bids.t1w()
    elsewhere = (bids.root / "sub-01").rename(bids.root.parent / "elsewhere")
    os.symlink(elsewhere, bids.root / "sub-01")
    assert one(listed(bids.root)).t_r == 2.0


@pytest.mark.parametrize("content", ["{", "[1]", '"text"'])
@pytest.mark.parametrize("place", ["task-rest_bold.json", "sub-01/func/sub-01_task-rest_bold.json"])
def test_a_damaged_sidecar_is_not_skipped_in_silence(bids, listed, content, place):
    bids.t1w(), bids.run(sidecar=None)
    path = bids.text(place, content)
    assert str(path) in one(listed(bids.root)).excluded_reason


def test_what_the_sidecar_says_about_slices_and_lines_reaches_the_table(bids, listed):
    bids.t1w(), bids.run()
    bids.json(
        "bold.json",
        **{"SliceTiming": [0, 1, 0.5, 1.5], "SliceEncodingDirection": "k-"},
        **{"PhaseEncodingDirection": "j-", "TotalReadoutTime": 0.04},
    )
    row = one(listed(bids.root))
    assert row.slice_timing == [1.5, 0.5, 1, 0]
    assert (row.slice_axis, row.phase_encoding, row.total_readout_time) == (2, "j-", 0.04)


def test_several_echo_times_are_left_out_with_the_remedy(bids, listed):
    bids.t1w(), bids.run()
    bids.json("bold.json", EchoTime=[0.012, 0.03])
    reason = one(listed(bids.root)).excluded_reason
    for word in ("multi-echo", "[0.012, 0.03]", "tedana", "derivatives"):
        assert word in reason
    bids.json("bold.json", EchoTime=[0.03])
    assert one(listed(bids.root)).excluded_reason is None


def test_time_as_the_fifth_dimension_is_a_run(bids, listed):
    bids.t1w()
    path = bids.run(shape=(3, 3, 4, 1, 10), t_r=None, sidecar=None)
    image = nib.load(path)
    image.header["pixdim"][5] = 2.5
    nib.Nifti1Image(image.get_fdata(), image.affine, image.header).to_filename(path)
    row = one(listed(bids.root))
    assert (row.excluded_reason, row.n_volumes, row.t_r) == (None, 10, 2.5)


def test_odd_participant_folders_are_said(bids, listed, caplog):
    bids.t1w(), bids.run()
    (bids.root / "sub-02_old").mkdir()
    listed(bids.root)
    assert "sub-02_old" in caplog.text


@pytest.mark.shared
def test_studyforrest_is_listed(shared_data, listed):
    row = one(listed(shared_data / "bids_studyforrest_sub02"))
    assert (row.participant_id, row.task, row.t_r, row.n_volumes) == ("sub-02", "oneback", 2.0, 156)
    assert row.t1w_path.endswith("sub-02/anat/sub-02_T1w.nii.gz")
    assert row.excluded_reason is None
    assert row.slice_timing is None


@pytest.mark.shared
def test_studyforrest_with_the_t_r_of_the_converter_is_left_out(shared_data, tmp_path, listed):
    """dcm2niix reads 1.79355 s from these DICOM files; the sidecar knows the 2 s of the scanner."""
    root = tmp_path / "studyforrest"
    shutil.copytree(shared_data / "bids_studyforrest_sub02", root, copy_function=os.symlink)
    path = next(root.rglob("*_bold.nii.gz"))
    with gzip.open(path) as file:
        content = bytearray(file.read(2**16))  # only the header is looked at
    content[92:96] = np.float32(1.79355).tobytes()  # pixdim[4]
    path.unlink()
    path.write_bytes(gzip.compress(bytes(content)))
    row = one(listed(root))
    for word in (path.name, "contradictory t_r", "2 s in the sidecar", "1.79355 sec", "correct"):
        assert word in row.excluded_reason
    assert row.t_r is None
