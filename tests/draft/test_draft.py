"""A first configuration: what it says is there, what it guesses is marked, and it is valid."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

from brainmass_core.config import parse_config
from brainmass_core.draft import MARK, draft
from brainmass_core.draft.columns import classes_of, look_at_columns
from brainmass_core.draft.found import DraftError, Label
from brainmass_core.scans.stage import list_scans


def written(*paths: Path) -> tuple[str, dict]:
    """The text, and what YAML reads in it; the configuration is valid."""
    text = draft(list(paths), Path("results"))
    raw = yaml.safe_load(text)
    parse_config(raw)
    return text, raw


def questions(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip().startswith(MARK)]


def touch(path: Path, content: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def write_bids(root: Path, n: int = 8, tasks: tuple[str, ...] = ("rest",)) -> Path:
    """Names and sidecars of raw BIDS, with a table of two groups."""
    rows = ["participant_id\tsite\tage\tgroup\thand"]
    for i in range(n):
        who = f"sub-{i:02d}"
        touch(root / who / "anat" / f"{who}_T1w.nii.gz")
        for task in tasks:
            touch(root / who / "func" / f"{who}_task-{task}_bold.nii.gz")
        rows.append(f"{who}\t{'AB'[i % 2]}\t{20 + i}\t{('HC', 'MDD')[i % 2]}\t{'RL'[i % 2]}")
    for task in tasks:
        touch(root / f"task-{task}_bold.json", json.dumps({"RepetitionTime": 2.5}))
    touch(root / "participants.tsv", "\n".join(rows) + "\n")
    return root


def test_raw_bids_has_its_task_columns_label_and_repetition_time(tmp_path):
    text, raw = written(write_bids(tmp_path / "clinic"))
    dataset = raw["datasets"]["clinic"]
    assert (dataset["kind"], dataset["batches"], dataset["stratify_by"]) == ("bids", 1, "group")
    assert dataset["phenotype"] == {"site_column": "site", "age_column": "age"}
    assert raw["tasks"]["group"]["classes"] == {"hc": ["HC"], "mdd": ["MDD"]}
    assert raw["tasks"]["group"]["protocol"] == {"n_splits": 4}
    assert "task: all runs are of rest" in text
    assert "2.5 s in sidecars (8 runs)" in text
    assert "HC (4), MDD (4)" in text
    assert "with few values is hand: L (4), R (4)" in text
    assert not questions(text), "all of it is known"


def test_what_cannot_be_decided_is_a_question(tmp_path):
    root = write_bids(tmp_path / "clinic", tasks=("nback", "rest"))
    touch(root / "sub-03" / "anat" / "sub-03_run-2_T1w.nii.gz")
    text, raw = written(root)
    assert raw["datasets"]["clinic"]["task"] == "rest"
    assert raw["datasets"]["clinic"]["t1w"] == "first"
    asked = questions(text)
    assert len(asked) == 2
    assert "nback (8 runs), rest (8 runs)" in asked[0]
    assert "sub-03" in asked[1]


def test_a_column_with_codes_of_missing_values_is_not_used_and_says_why(tmp_path):
    root = write_bids(tmp_path / "clinic")
    table = (root / "participants.tsv").read_text().replace("\t22\t", "\t-9999\t")
    (root / "participants.tsv").write_text(table.replace("\t23\t", "\t-9999\t"))
    text, raw = written(root)
    assert "age_column" not in raw["datasets"]["clinic"]["phenotype"]
    (asked,) = questions(text)
    assert "age is not used" in asked
    assert "-9999" in asked


def test_derivatives_state_their_spaces_and_find_the_table_of_the_raw_data(tmp_path):
    raw_data = write_bids(tmp_path / "clinic")
    root = raw_data / "derivatives" / "fmriprep"
    for i in range(8):
        who = f"sub-{i:02d}"
        for space in ("MNI152NLin2009cAsym", "T1w"):
            touch(root / who / "func" / f"{who}_task-rest_space-{space}_desc-preproc_bold.nii.gz")
    text, raw = written(root)
    (dataset,) = raw["datasets"].values()
    assert dataset["kind"] == "derivatives"
    assert dataset["phenotype"]["path"] == str(raw_data / "participants.tsv")
    assert "MNI152NLin2009cAsym (8 files), T1w (8 files)" in text
    assert "8 scans of 8 participants" in text
    for file in root.rglob("*MNI*"):
        file.unlink()
    assert any("none of these is a template space" in q for q in questions(written(root)[0]))


def write_series(root: Path, transposed: bool = False) -> Path:
    rng = np.random.default_rng(0)
    (root / "rois_cc200_nofilt").mkdir(parents=True)
    rows = ["SUB_ID,FILE_ID,SITE_ID,DX_GROUP,AGE_AT_SCAN,SEX,TR_s"]
    for i in range(12):
        series = rng.standard_normal((40 + i % 3, 7))
        np.save(root / "rois_cc200_nofilt" / f"s{i}.npy", series.T if transposed else series)
        rows.append(f"{500 + i},s{i},{'AB'[i % 2]},{1 + i // 2 % 2},{20 + i},{1 + i % 2},2.0")
    touch(root / "subjects.csv", "\n".join(rows) + "\n")
    return root


@pytest.mark.parametrize("transposed", [False, True])
def test_series_give_axes_parcels_and_their_table(tmp_path, transposed):
    root = write_series(tmp_path / "abide", transposed)
    text, raw = written(root)
    (dataset,) = raw["datasets"].values()
    assert dataset["orientation"] == ("roi_by_time" if transposed else "time_by_roi")
    assert raw["atlas"] == {"name": "CC200", "n_rois": 7}
    assert dataset["phenotype"]["scan_column"] == "FILE_ID"
    assert dataset["phenotype"]["id_column"] == "SUB_ID"
    assert dataset["phenotype"]["t_r_column"] == "TR_s"
    assert raw["tasks"]["dx_group"]["classes"] == {"dx_group_1": ["1"], "dx_group_2": ["2"]}
    asked = questions(text)
    assert len(asked) == 2
    assert "filter" in asked[0]
    assert "name the classes" in asked[1]


def test_what_is_written_lists_every_scan(tmp_path):
    root = write_series(tmp_path / "abide")
    _, raw = written(root)
    scans, unmatched = list_scans(parse_config(raw), next(iter(raw["datasets"])))
    assert len(scans) == 12
    assert scans.excluded_reason.isna().all()
    assert set(scans.participant_id) == {str(500 + i) for i in range(12)}
    assert not unmatched.table_only


def image(path: Path, shape: tuple[int, ...]) -> None:
    found = nib.Nifti1Image(np.zeros(shape, np.int16), np.eye(4))
    found.header.set_xyzt_units("mm", "sec")
    if len(shape) == 4:
        found.header["pixdim"][4] = 2.5
    path.parent.mkdir(parents=True, exist_ok=True)
    found.to_filename(path)


def write_fmriprep(root: Path) -> Path:
    """What fMRIPrep leaves of eight participants, beside the table of their raw data."""
    for i in range(8):
        func = root / "derivatives" / "fmriprep" / f"sub-{i:02d}" / "func"
        stem = f"sub-{i:02d}_task-rest"
        image(func / f"{stem}_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz", (3, 3, 3, 10))
        image(func / f"{stem}_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz", (3, 3, 3))
        touch(func / f"{stem}_desc-confounds_timeseries.tsv", "trans_x\n" + "0\n" * 10)
    return root / "derivatives" / "fmriprep"


@pytest.mark.parametrize("kind", ["bids", "derivatives"])
def test_what_is_written_of_images_lists_every_run_with_its_phenotypes(tmp_path, kind):
    root = write_bids(tmp_path / "clinic")
    for file in root.rglob("*.nii.gz"):
        image(file, (3, 3, 3) if "T1w" in file.name else (3, 3, 3, 10))
    _, raw = written(root if kind == "bids" else write_fmriprep(root))
    (name,) = raw["datasets"]
    scans, unmatched = list_scans(parse_config(raw), name)
    assert raw["datasets"][name]["kind"] == kind
    assert len(scans) == 8
    assert scans.excluded_reason.isna().all(), list(scans.excluded_reason)
    assert set(scans.t_r) == {2.5}
    assert set(scans.pheno_group) == {"HC", "MDD"}
    assert not unmatched.table_only


def test_an_unknown_repetition_time_is_a_question_and_so_is_a_missing_table(tmp_path):
    root = write_series(tmp_path / "abide")
    (root / "subjects.csv").unlink()
    text, raw = written(root)
    (dataset,) = raw["datasets"].values()
    assert dataset["t_r"] == 2.0
    asked = "\n".join(questions(text))
    assert "which repetition time" in asked
    assert "no phenotype table" in asked
    assert "tasks" not in raw


def test_two_data_sets_of_one_label_are_one_task_and_the_same_ids_are_asked_about(tmp_path):
    one, other = write_bids(tmp_path / "a" / "bids"), write_bids(tmp_path / "b" / "bids")
    text, raw = written(one, other)
    assert list(raw["datasets"]) == ["data_a", "data_b"] or list(raw["datasets"]) == ["a", "b"]
    assert raw["tasks"]["group"]["datasets"] == list(raw["datasets"])
    assert any("8 ids, such as" in q for q in questions(text))


def test_controls_come_first_whatever_the_alphabet_says():
    classes, question = classes_of(Label("dx", {"ADHD": 4, "TD": 5}))
    assert list(classes) == ["td", "adhd"]
    assert not question
    classes, question = classes_of(Label("dx", {"AD": 4, "MCI": 5}))
    assert list(classes) == ["ad", "mci"]
    assert question


def test_a_table_of_other_people_is_not_taken(tmp_path):
    touch(tmp_path / "t.csv", "participant_id,dx\na,1\nb,2\n")
    assert look_at_columns(tmp_path / "t.csv", ["sub-1"], False, False) is None


def test_a_folder_with_nothing_in_it_is_refused(tmp_path):
    with pytest.raises(DraftError, match="neither BOLD runs"):
        draft([tmp_path], Path("results"))
    with pytest.raises(DraftError, match="expected a folder"):
        draft([tmp_path / "nowhere"], Path("results"))
