"""What a change of the data concerns, without Snakemake: the fingerprints in the rules' params."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from brainmass_core.config import parse_config
from brainmass_core.pipeline.dag import Study
from brainmass_core.pipeline.fingerprints import (
    Inputs,
    inputs_of,
    read_in_derivatives,
    read_in_raw,
    remember,
)
from brainmass_core.pipeline.hashing import batch_of

N = 4  # batches
SUBJECTS = [f"sub-{i:02d}" for i in range(1, 13)]


def bids(root: Path) -> Path:
    for who in SUBJECTS:
        for name in (
            f"anat/{who}_T1w.nii.gz",
            f"anat/{who}_T1w.json",
            f"func/{who}_task-rest_bold.nii.gz",
            f"func/{who}_task-rest_bold.json",
            f"func/{who}_task-rest_events.tsv",
            f"fmap/{who}_dir-AP_epi.nii.gz",
            f"dwi/{who}_dwi.bval",
        ):
            write(root / who / name)
    write(root / "task-rest_bold.json")
    write(root / "dataset_description.json")
    write(root / "README")
    rows = "".join(f"{w}\t{'AB'[i % 2]}\t{20 + i}\t{i % 3}\n" for i, w in enumerate(SUBJECTS))
    (root / "participants.tsv").write_text(f"participant_id\tsite\tage\tgroup\n{rows}")
    return root


def write(path: Path, text: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, ns=(10**18, 10**18))


def of_raw(root: Path, **over) -> dict[tuple[str, str], str]:
    phenotype = {"site_column": "site", "age_column": "age"}
    data = {"kind": "bids", "role": "internal", "path": str(root), "batches": N}
    data |= {"stratify_by": "group", "phenotype": phenotype}
    return fingerprints({"datasets": {"d": data}} | over)


def fingerprints(raw: dict, **how) -> dict[tuple[str, str], str]:
    """Fingerprint of every job that carries one."""
    study = Study(parse_config(raw), **how)
    found = {("scans", ""): study.inputs("scans", "d"), ("pfc", ""): study.inputs("pfc", "d")}
    for stage in ("preprocess", "timeseries", "quality"):
        for batch in range(study.config.datasets["d"].batches):
            found[stage, str(batch)] = study.inputs(stage, "d", str(batch))
    return found


def differing(before: dict, after: dict) -> set[tuple[str, str]]:
    return {job for job in before if before[job] != after[job]}


def jobs_of(who: str) -> set[tuple[str, str]]:
    batch = str(batch_of("d", who, N))
    return {("scans", "")} | {(s, batch) for s in ("preprocess", "timeseries", "quality")}


EVERY_BATCH = {(s, str(b)) for s in ("preprocess", "timeseries", "quality") for b in range(N)}


@pytest.fixture
def root(tmp_path):
    return bids(tmp_path / "d")


@pytest.mark.parametrize(
    "file",
    [
        "anat/sub-03_T1w.nii.gz",
        "func/sub-03_task-rest_bold.nii.gz",
        "func/sub-03_task-rest_bold.json",
        "fmap/sub-03_dir-AP_epi.nii.gz",
    ],
)
def test_a_changed_file_concerns_the_batch_of_its_participant(root, file):
    before = of_raw(root)
    write(root / "sub-03" / file, "longer")
    assert differing(before, of_raw(root)) == jobs_of("sub-03")


def test_any_other_time_counts_also_an_older_one(root):
    before = of_raw(root)
    os.utime(root / "sub-03/func/sub-03_task-rest_bold.nii.gz", ns=(1, 1))
    assert differing(before, of_raw(root)) == jobs_of("sub-03")


def test_a_deleted_sidecar_and_an_added_run_concern_their_batch(root):
    before = of_raw(root)
    (root / "sub-05/func/sub-05_task-rest_bold.json").unlink()
    write(root / "sub-07/ses-2/func/sub-07_ses-2_task-rest_bold.nii.gz")
    assert differing(before, of_raw(root)) == jobs_of("sub-05") | jobs_of("sub-07")


@pytest.mark.parametrize(
    "name",
    ["sub-03_task-rest_bold.NII.GZ", "sub-03_task-rest_bold (1).nii.gz", "sub-03_task-x_BOLD.nii"],
)
@pytest.mark.parametrize("kind", ["bids", "derivatives"])
def test_what_is_no_run_by_a_slip_concerns_the_list_of_the_scans(root, name, kind):
    section = {"kind": kind, "role": "internal", "path": str(root)}
    dataset = parse_config({"datasets": {"d": section}}).datasets["d"]
    before = inputs_of("d", dataset)
    write(root / "sub-03/func" / name)
    after = inputs_of("d", dataset)
    assert [w for w in after.people if after.people[w] != before.people[w]] == ["sub-03"]
    (root / "sub-14").symlink_to("/nonexistent/sub-14")
    broken = inputs_of("d", dataset)
    assert (broken.people, broken.shared) == (after.people, after.shared)
    assert broken.all() != after.all()


def test_who_comes_or_goes_also_changes_the_split(root):
    before = of_raw(root)
    shutil.rmtree(root / "sub-05")
    assert differing(before, of_raw(root)) == jobs_of("sub-05") | {("pfc", "")}
    write(root / "sub-99/func/sub-99_task-rest_bold.nii.gz")
    both = jobs_of("sub-05") | jobs_of("sub-99") | {("pfc", "")}
    assert differing(before, of_raw(root)) == both


@pytest.mark.parametrize(
    "file",
    [
        "README",
        "sub-03/dwi/sub-03_dwi.bval",
        "sub-03/func/sub-03_task-rest_events.tsv",
        "sub-03/anat/sub-03_T1w.json",
        "derivatives/fmriprep/sub-03/func/sub-03_task-rest_bold.nii.gz",
    ],
)
def test_what_is_not_read_concerns_nobody(root, file):
    before = of_raw(root)
    write(root / file, "other content")
    assert differing(before, of_raw(root)) == set()


def test_a_sidecar_of_all_concerns_every_batch_but_not_the_split(root):
    before = of_raw(root)
    write(root / "task-rest_bold.json", "other content")
    assert differing(before, of_raw(root)) == {("scans", ""), *EVERY_BATCH}


def test_a_corrected_age_concerns_the_list_of_the_scans_alone(root):
    before = of_raw(root)
    table = root / "participants.tsv"
    table.write_text(table.read_text().replace("\t22\t", "\t23\t"))
    assert differing(before, of_raw(root)) == {("scans", "")}


def test_a_corrected_group_concerns_the_split(root):
    before = of_raw(root)
    table = root / "participants.tsv"
    table.write_text(table.read_text().replace("sub-03\tA\t22\t2", "sub-03\tA\t22\t0"))
    assert differing(before, of_raw(root)) == {("scans", ""), ("pfc", "")}


def test_a_corrected_site_concerns_the_split_and_the_page_that_shows_it(root):
    before = of_raw(root)
    table = root / "participants.tsv"
    table.write_text(table.read_text().replace("sub-03\tA", "sub-03\tB"))
    page = ("quality", str(batch_of("d", "sub-03", N)))
    assert differing(before, of_raw(root)) == {("scans", ""), ("pfc", ""), page}


def test_a_phenotype_table_that_cannot_be_read_counts_as_a_whole(root):
    table = root / "participants.tsv"
    table.write_bytes(b"\xff\xfe\x00 damaged")
    before = of_raw(root)
    table.write_bytes(b"\xff\xfe\x00 damaged too")
    changed = differing(before, of_raw(root))
    assert {("scans", ""), ("pfc", "")} < changed
    assert not {job for job in changed if job[0] in ("preprocess", "timeseries")}


def test_another_atlas_or_other_labels_concern_the_series_and_a_template_what_it_registers(root):
    atlas, labels, template = (root.parent / n for n in ("a.nii.gz", "a.tsv", "t.nii.gz"))
    for file in (atlas, labels, template):
        write(file)
    over = {
        "atlas": {"name": "a", "path": str(atlas), "labels": str(labels)},
        "preprocess": {"template": str(template), "template_mask": str(template)},
    }
    series = {(s, str(b)) for s in ("timeseries",) for b in range(N)}
    for file in (atlas, labels):
        before = of_raw(root, **over)
        write(file, "relabelled")
        assert differing(before, of_raw(root, **over)) == series
    before = of_raw(root, **over)
    write(template, "sharper")
    assert differing(before, of_raw(root, **over)) == {("preprocess", str(b)) for b in range(N)}


def test_a_link_counts_as_what_it_leads_to(root):
    link, target = root / "sub-03/func/sub-03_task-rest_bold.nii.gz", root.parent / "annex"
    link.unlink()
    link.symlink_to(target)  # as of `datalad`, before `datalad get`
    before = of_raw(root)
    write(target)
    fetched = of_raw(root)
    assert differing(before, fetched) == jobs_of("sub-03")
    write(target, "other content")
    assert differing(fetched, of_raw(root)) == jobs_of("sub-03")


def test_a_loop_of_links_ends(root):
    (root / "sub-03/ses-1").mkdir()
    (root / "sub-03/ses-1/ses-1").symlink_to(root / "sub-03", target_is_directory=True)
    assert of_raw(root)


def test_neither_the_order_of_a_folder_nor_its_place_in_time_matters(root, tmp_path):
    other = tmp_path / "again" / "d"
    other.mkdir(parents=True)
    for file in sorted((p for p in root.rglob("*") if p.is_file()), reverse=True):
        target = other / file.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, target)
    both = [parse_config({"datasets": {"d": {"kind": "bids", "role": "internal", "path": str(p)}}})
            for p in (root, other)]  # fmt: skip
    assert inputs_of("d", both[0].datasets["d"]) == inputs_of("d", both[1].datasets["d"])


def test_a_process_that_runs_one_job_walks_no_data_set(tmp_path, root, monkeypatch):
    def walk(*arguments):
        raise AssertionError("walked")

    monkeypatch.setattr("brainmass_core.pipeline.data_changes.inputs_of", walk)
    raw = {"datasets": {"d": {"kind": "bids", "role": "internal", "path": str(root)}}}
    assert set(fingerprints(raw, planning=False).values()) == {""}


def test_a_data_set_is_walked_once_however_many_jobs_ask(root, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "brainmass_core.pipeline.data_changes.inputs_of",
        lambda *a: calls.append(a) or Inputs({"sub-01": "x"}),
    )
    of_raw(root)
    assert len(calls) == 1


# --- synthetic data are written after the first walk ---------------------------------------------


def test_synthetic_data_that_were_just_written_look_as_before_they_were(tmp_path):
    synthetic = {"kind": "bids", "role": "internal", "path": str(tmp_path / "d"), "batches": N}
    raw = {"datasets": {"d": synthetic | {"synthetic": {}}}}
    raw["datasets"]["d"] |= {"stratify_by": "group", "phenotype": {"site_column": "site"}}
    written = fingerprints(raw)
    root = bids(tmp_path / "d")
    remember(root)
    assert differing(written, fingerprints(raw)) == set()
    table = root / "participants.tsv"
    text = table.read_text()
    table.write_text(text.replace("\t22\t", "\t23\t"))
    assert differing(written, fingerprints(raw)) == {("scans", "")}
    table.write_text(text.replace("sub-03\tA\t22\t2", "sub-03\tA\t22\t0"))
    assert differing(written, fingerprints(raw)) == {("scans", ""), ("pfc", "")}
    shutil.copy2(root / ".brainmass_written.tsv", table)
    write(root / "sub-03/func/sub-03_task-rest_bold.nii.gz", "tampered with")
    assert differing(written, fingerprints(raw)) == jobs_of("sub-03")
    shutil.rmtree(root / "sub-04")
    assert differing(written, fingerprints(raw)) == jobs_of("sub-03") | jobs_of("sub-04") | {
        ("pfc", "")
    }


# --- derivatives and ready series ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("sub-1_task-rest_space-MNI152NLin6Asym_desc-preproc_bold.nii.gz", True),
        ("sub-1_task-rest_space-MNI152NLin6Asym_desc-preproc_bold.json", True),
        ("sub-1_task-rest_space-MNI152NLin6Asym_desc-brain_mask.nii.gz", True),
        ("sub-1_task-rest_desc-confounds_timeseries.tsv", True),
        ("sub-1_task-rest_desc-confounds_regressors.tsv", True),
        ("sub-1_task-rest_framewise-displacement-jenkinson.1D", True),
        ("sub-1_task-rest_desc-confounds_timeseries.json", False),
        ("sub-1_task-rest_boldref.nii.gz", False),
        ("sub-1_from-T1w_to-MNI_mode-image_xfm.h5", False),
        ("sub-1.html", False),
    ],
)
def test_of_derivatives_bold_masks_and_confounds_are_read(name, read):
    assert read_in_derivatives("func", name) is read


def test_of_raw_data_whatever_lies_in_fmap_is_read():
    assert read_in_raw("fmap", "sub-1_magnitude2.nii.gz")
    assert read_in_raw("fmap", "sub-1_TB1map.json")
    assert not read_in_raw("fmap", "sub-1_epi.bval")


def of_series(root: Path, **over) -> dict[tuple[str, str], str]:
    phenotype = {"path": str(root.parent / "p.csv"), "id_column": "who", "scan_column": "file"}
    phenotype |= {"t_r_column": "tr"}
    data = {"kind": "timeseries", "role": "internal", "path": str(root), "batches": N}
    return fingerprints(
        {"datasets": {"d": data | {"phenotype": phenotype} | over}, "atlas": {"n_rois": 3}}
    )


@pytest.fixture
def series(tmp_path):
    root = tmp_path / "series"
    for i in range(12):
        write(root / f"scan{i:02d}_rois_aal.1D")
    rows = "".join(f"scan{i:02d},p{i:02d},2.0,{i}\n" for i in range(12))
    (tmp_path / "p.csv").write_text(f"file,who,tr,iq\n{rows}")
    return root


def test_a_series_belongs_to_whom_the_table_names(series):
    before = of_series(series)
    write(series / "scan03_rois_aal.1D", "longer")
    assert differing(before, of_series(series)) == jobs_of("p03")


def test_a_scan_of_another_participant_concerns_both_batches_and_the_split(series):
    before = of_series(series)
    table = series.parent / "p.csv"
    table.write_text(table.read_text().replace("scan03,p03", "scan03,p04"))
    assert differing(before, of_series(series)) == jobs_of("p03") | jobs_of("p04") | {("pfc", "")}


def test_a_corrected_repetition_time_concerns_its_batch_and_an_iq_none(series):
    before = of_series(series)
    table = series.parent / "p.csv"
    table.write_text(table.read_text().replace("scan03,p03,2.0,3", "scan03,p03,2.5,3"))
    assert differing(before, of_series(series)) == jobs_of("p03")
    before = of_series(series)
    table.write_text(table.read_text().replace("scan04,p04,2.0,4", "scan04,p04,2.0,104"))
    assert differing(before, of_series(series)) == {("scans", "")}


def test_a_file_of_many_arrays_concerns_everybody(series):
    write(series / "all.npz")
    before = of_series(series)
    write(series / "all.npz", "longer")
    assert differing(before, of_series(series)) == {("scans", ""), ("pfc", ""), *EVERY_BATCH}


def test_a_file_that_the_pattern_leaves_out_concerns_nobody(series):
    before = of_series(series, pattern="*.1D")
    write(series / "notes.txt")
    write(series / "deeper" / "scan99.1D")
    assert differing(before, of_series(series, pattern="*.1D")) == set()
