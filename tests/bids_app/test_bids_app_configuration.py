"""What a command line of a BIDS App becomes: a valid configuration, whatever the folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from brainmass_core.bids_app.configuration import Request, configuration, with_earlier, write
from brainmass_core.cli.bids_app import spelled_out
from brainmass_core.config import ConfigError, load_config, parse_config
from brainmass_core.scans.folder_kind import kind_of
from brainmass_core.scans.table import ScansError


@pytest.fixture
def bids(tmp_path) -> Path:
    """A raw data set of three participants and two sessions, by its names."""
    for who in ("01", "02", "03"):
        for session in ("a", "b"):
            folder = tmp_path / "data" / f"sub-{who}" / f"ses-{session}" / "func"
            folder.mkdir(parents=True)
            (folder / f"sub-{who}_ses-{session}_task-rest_bold.nii.gz").touch()
    return tmp_path / "data"


def made(bids: Path, **over) -> dict:
    return configuration(Request(bids, bids.parent / "out", **over))


def test_by_default_nothing_is_pre_trained_and_nobody_is_kept_out(bids):
    config = parse_config(made(bids))
    assert [(n, d.kind, d.role) for n, d in config.datasets.items()] == [
        ("bids", "bids", "external")
    ]
    assert not config.pretrains
    assert not config.tasks


def test_labels_may_have_their_prefix_or_not(bids):
    found = made(bids, participants=("sub-02", "01", "02"), sessions=("ses-b",), task="task-rest")
    chosen = found["datasets"]["bids"]
    assert (chosen["participants"], chosen["sessions"], chosen["task"]) == (
        ["01", "02"],
        ["b"],
        "rest",
    )


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"participants": ("7",)}, r"--participant-label: .*data has no 7; it has 01, 02, 03"),
        ({"sessions": ("c",)}, r"--session-label: .*data has no c; it has a, b"),
    ],
)
def test_an_unknown_label_is_refused_with_those_that_exist(bids, over, said):
    with pytest.raises(ScansError, match=said):
        made(bids, **over)


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"denoise": "36q"}, "--denoise: found 36q, expected one of .*36p.*did you mean '36p'"),
        ({"atlas": "no/such.nii.gz"}, "--atlas: no/such.nii.gz does not exist"),
    ],
)
def test_an_unknown_preset_or_atlas_is_refused(bids, over, said):
    with pytest.raises(ConfigError, match=said):
        made(bids, **over)


def test_a_folder_without_bold_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="found no BOLD run"):
        made(tmp_path)
    with pytest.raises(ConfigError, match="expected the folder"):
        made(tmp_path / "nowhere")
    (tmp_path / "a.npy").touch()
    with pytest.raises(ConfigError, match="brainmass init"):
        made(tmp_path)


def test_derivatives_are_recognised_by_description_or_names(bids, tmp_path):
    assert kind_of(bids) == "bids"
    (bids / "dataset_description.json").write_text(json.dumps({"DatasetType": "derivative"}))
    assert kind_of(bids) == "derivatives"
    func = tmp_path / "fmriprep" / "sub-1" / "func"
    func.mkdir(parents=True)
    (func / "sub-1_task-rest_space-MNI152NLin6Asym_desc-preproc_bold.nii.gz").touch()
    assert kind_of(tmp_path / "fmriprep") == "derivatives"
    assert kind_of(tmp_path / "nothing") is None


def test_the_name_of_a_schaefer_image_gives_the_name_of_the_atlas(bids):
    image = bids.parent / "Schaefer2018_200Parcels_17Networks_order_FSLMNI152_2mm.nii.gz"
    image.touch()
    assert made(bids, atlas=str(image))["atlas"] == {
        "name": "Schaefer2018-200-17networks",
        "path": str(image),
    }
    assert made(bids, atlas="Schaefer2018-400-7networks")["atlas"] == {
        "name": "Schaefer2018-400-7networks"
    }


def test_the_command_line_overrides_further_settings_and_they_the_defaults(bids):
    extra = bids.parent / "extra.yaml"
    settings = {
        "datasets": {"clinic": {"role": "internal", "task": "nback"}},
        "presets": ["timeseries/minimal"],
        "resources": {"timeseries": {"cpus_per_task": 7}},
        "seed": 3,
    }
    extra.write_text(yaml.safe_dump(settings))
    found = made(bids, extra=extra, task="rest", denoise="36p", n_procs=2)
    assert list(found["datasets"]) == ["clinic"]
    clinic = found["datasets"]["clinic"]
    assert (clinic["role"], clinic["task"], clinic["path"]) == ("internal", "rest", str(bids))
    assert found["presets"] == ["timeseries/minimal", "timeseries/36p"]
    assert found["resources"]["timeseries"]["cpus_per_task"] == 7
    assert found["seed"] == 3


def test_paths_of_further_settings_are_those_of_the_folder_of_the_command(bids, monkeypatch):
    monkeypatch.chdir(bids.parent)
    (bids.parent / "people.tsv").write_text("participant_id\n")
    extra = Path("extra.yaml")
    extra.write_text(
        "datasets: {bids: {phenotype: {path: people.tsv}}}\nreport: {compare: [../other]}\n"
    )
    found = configuration(Request(Path("data"), Path("x/../out"), extra=extra))
    assert found["datasets"]["bids"]["phenotype"]["path"] == str(bids.parent / "people.tsv")
    assert found["report"]["compare"] == [str(bids.parent.parent / "other")]
    assert found["results"] == str(bids.parent / "out")


def test_of_several_data_sets_that_without_a_path_is_meant(bids):
    extra = bids.parent / "extra.yaml"
    other = {"kind": "bids", "role": "external", "path": str(bids)}
    extra.write_text(yaml.safe_dump({"datasets": {"other": other, "mine": {}}}))
    found = made(bids, extra=extra)
    assert found["datasets"]["mine"]["path"] == str(bids)
    extra.write_text(yaml.safe_dump({"datasets": {"a": {}, "b": {}}}))
    with pytest.raises(ConfigError, match="a, b have no path"):
        made(bids, extra=extra)


@pytest.mark.parametrize(
    ("n_procs", "mem_mb", "cores"), [(8, None, 8), (8, 12_000, 4), (1, 64_000, 1), (None, 700, 1)]
)
def test_cores_of_a_job_fit_into_the_memory(bids, n_procs, mem_mb, cores):
    found = parse_config(made(bids, n_procs=n_procs, mem_mb=mem_mb))
    assert found.stage_resources("preprocess").cpus_per_task == cores


def test_participants_of_earlier_calls_into_one_folder_stay(bids):
    out = bids.parent / "out"

    def call(*labels: str) -> list[str]:
        request = Request(bids, out, participants=labels)
        raw = with_earlier(request, configuration(request))
        file = write(out, raw, "brainmass run")
        return load_config(file).datasets["bids"].participants

    assert call("02") == ["02"]
    assert call("01") == ["01", "02"]
    assert call() == []  # all
    assert call("03") == []


def test_several_labels_may_follow_one_option_however_it_is_written():
    words = ["d", "o", "group", "--participant_label", "01", "02", "--mem_mb", "9", "-w", "x"]
    label = "--participant-label"
    assert spelled_out(words) == [
        *("d", "o", "group", label, "01", label, "02", "--mem-mb", "9", "-w", "x")
    ]
    assert spelled_out(["--session-label=a", "d"]) == ["--session-label=a", "d"]
    assert spelled_out(["--session-label", "a", "--", "--x_y"]) == [
        *("--session-label", "a", "--", "--x_y")
    ]
