"""A changed knob changes the results that depend on it, and nothing else."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainmass_core.config import Config, parse_config
from brainmass_core.pipeline.hashing import batch_of, stable_hash, stage_hash
from brainmass_core.pipeline.stages import NAMES

RAW = {
    "datasets": {
        "raw": {"kind": "bids", "role": "internal", "path": ".", "batches": 4},
        "ready": {"kind": "timeseries", "role": "external", "path": "."},
        "corpus": {"kind": "derivatives", "role": "pretrain", "path": "."},
    },
    "tasks": {
        "asd": {"datasets": ["raw"], "label": "dx", "classes": {"no": ["0"], "yes": ["1"]}},
        "mdd": {"datasets": ["ready"], "label": "dx", "classes": {"no": ["0"], "yes": ["1"]}},
    },
}
EVERYTHING = {
    (stage, name)
    for stage in NAMES
    for name in (
        ("asd", "mdd")
        if stage in ("finetune", "interpret", "report")
        else ("reconstruction",)
        if stage == "series_model"
        else tuple(RAW["datasets"])
    )
    if stage != "pretrain" and (stage, name) not in {("preprocess", "ready"), ("pfc", "ready")}
} | {("pretrain", None), ("report", None)}
EVERYTHING -= {("preprocess", "corpus")}


def config(**sections: dict) -> Config:
    raw = deepcopy(RAW)
    for path, value in sections.items():
        *parents, key = path.split("__")
        place = raw
        for parent in parents:
            place = place.setdefault(parent, {})
        place[key] = value
    return parse_config(raw)


def changed(**sections: object) -> set[tuple[str, str | None]]:
    before, after = config(), config(**sections)
    return {x for x in EVERYTHING if stage_hash(before, *x) != stage_hash(after, *x)}


def stages(of: set[tuple[str, str | None]]) -> set[str]:
    return {stage for stage, _ in of}


@pytest.mark.parametrize(
    ("knob", "value", "first"),
    [
        ("preprocess__resolution", 3.0, "preprocess"),
        ("timeseries__high_hz", 0.08, "timeseries"),
        ("atlas__name", "other", "timeseries"),
        ("connectivity__estimator", "ledoit_wolf", "connectivity"),
        ("pfc__drop_rate", 0.5, "pfc"),
        ("pretrain__lr", 0.1, "pretrain"),
        ("finetune__n_bootstrap", 500, "finetune"),
        ("neural__max_epochs", 3, "finetune"),
        ("interpret__n_steps", 8, "interpret"),
        ("report__title", "another", "report"),
    ],
)
def test_a_knob_changes_its_stage_and_none_before(knob: str, value: object, first: str) -> None:
    touched = stages(changed(**{knob: value}))
    assert touched >= {first, "report"}
    assert not touched & set(NAMES[: NAMES.index(first)])


def test_few_and_zero_shot_knobs_make_only_their_own_part_anew() -> None:
    before = config()
    for knob, part in (("few_shot__shots", "few_shot"), ("zero_shot__harmonise", "zero_shot")):
        after = config(**{knob: [1, 2] if part == "few_shot" else "site_mean"})
        parts = ("finetune", "few_shot", "zero_shot")
        touched = {p for p in parts if stage_hash(before, p, "mdd") != stage_hash(after, p, "mdd")}
        assert touched == {part}


def test_a_task_that_is_carried_over_from_another_follows_it() -> None:
    before = config(tasks__asd__zero_shot_from="mdd")
    after = config(tasks__asd__zero_shot_from="mdd", tasks__mdd__label="other")
    assert stage_hash(before, "zero_shot", "asd") != stage_hash(after, "zero_shot", "asd")
    assert stage_hash(before, "finetune", "asd") == stage_hash(after, "finetune", "asd")
    assert stage_hash(before, "finetune", "asd") == stage_hash(config(), "finetune", "asd")


def test_connectivity_and_pfc_do_not_depend_on_each_other() -> None:
    assert "pfc" not in stages(changed(connectivity__estimator="ledoit_wolf"))
    assert "connectivity" not in stages(changed(pfc__n_views=3))


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("results", "elsewhere"),
        ("resources", {"preprocess": {"cpus_per_task": 16}}),
        ("pretrain__nodes", 8),
        ("pretrain__processes_per_node", 4),
        ("pretrain__checkpoint_steps", 7),
        ("pretrain__compile", True),
    ],
)
def test_where_and_how_it_runs_changes_no_result(knob: str, value: object) -> None:
    assert not changed(**{knob: value})


def test_the_limit_of_failures_changes_what_uses_data_sets_and_no_batch() -> None:
    touched = stages(changed(max_failed_fraction=0.1))
    assert touched == {"pretrain", "finetune", "interpret", "series_model", "report"}
    assert not changed(max_failed_fraction=0.5)


def test_a_data_set_does_not_touch_another() -> None:
    touched = changed(datasets__corpus__t_r_tolerance=0.5)
    assert {n for s, n in touched if s in NAMES[:5]} == {"corpus"}
    assert ("pretrain", None) in touched


def test_an_external_data_set_does_not_touch_the_model() -> None:
    touched = changed(datasets__ready__t_r=2.0)
    assert ("pretrain", None) not in touched
    assert ("finetune", "mdd") in touched
    assert ("finetune", "asd") not in touched


def test_a_task_touches_only_itself_the_index_and_the_columns_of_its_scans() -> None:
    own = {(s, "asd") for s in ("finetune", "interpret", "report")} | {("report", None)}
    assert changed(tasks__asd__label="other") == own | {("scans", "raw")}
    assert changed(tasks__asd__exclude="age > 60") == own
    assert changed(tasks__asd__exclude="pheno_x > 60") == own | {("scans", "raw")}


@pytest.mark.parametrize("name", RAW["datasets"])
@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("role", {"raw": "external", "ready": "internal", "corpus": "internal"}),
        ("evaluation_fraction", 0.4),
        ("stratify_by", "dx"),
        ("phenotype__age_column", "years"),
        ("phenotype__sex_column", "gender"),
        ("phenotype__site_column", "scanner"),
        ("phenotype__session_column", "wave"),
    ],
)
def test_who_people_are_and_how_they_are_split_repeats_no_work_on_their_scans(
    name: str, knob: str, value: object
) -> None:
    value = value[name] if isinstance(value, dict) else value
    touched = changed(**{f"datasets__{name}__{knob}": value})
    shown = {"quality"} if knob == "phenotype__site_column" else set()
    assert stages(touched) & {"preprocess", "timeseries", "connectivity", "quality"} == shown
    assert ("scans", name) in touched
    of_tasks = knob in ("phenotype__age_column", "phenotype__sex_column")
    assert (("pfc", name) in touched) == (name != "ready" and not of_tasks)
    assert not (of_tasks and ("pretrain", None) in touched)


def test_the_seed_touches_all_but_what_is_estimated_of_a_scan() -> None:
    drawn = {"preprocess", "timeseries", "connectivity", "quality"}
    assert changed(seed=7) == {x for x in EVERYTHING if x[0] not in drawn}


def test_another_number_of_batches_makes_tables_again_but_estimates_nothing_again() -> None:
    before, after = config(), config(datasets__raw__batches=8)
    assert stage_hash(before, "estimates", "raw") == stage_hash(after, "estimates", "raw")
    for stage in ("preprocess", "timeseries", "connectivity", "quality", "pfc"):
        assert stage_hash(before, stage, "raw") != stage_hash(after, stage, "raw"), stage


@pytest.mark.parametrize(
    ("knob", "value"), [("t_r", 2.0), ("task", "rest"), ("t1w", "first"), ("path", "tests")]
)
def test_what_decides_how_a_scan_is_read_repeats_its_estimates(knob: str, value: object) -> None:
    before, after = config(), config(**{f"datasets__raw__{knob}": value})
    assert stage_hash(before, "estimates", "raw") != stage_hash(after, "estimates", "raw")


@pytest.mark.parametrize("knob", ["id_column", "scan_column", "t_r_column", "mean_fd_column"])
def test_columns_that_say_what_a_series_is_repeat_its_work(knob: str) -> None:
    touched = changed(**{f"datasets__ready__phenotype__{knob}": "x"})
    assert ("timeseries", "ready") in touched


# --- batches --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dataset", "participant", "batches", "expected"),
    [
        ("abide", "sub-0050952", 8, 4),
        ("abide", "sub-0050953", 8, 5),
        ("demo", "sub-01", 4, 1),
        ("ukb", "sub-1000001", 547, 276),
    ],
)
def test_batches_never_change_between_versions(
    dataset: str, participant: str, batches: int, expected: int
) -> None:
    # printf 'DATASET\x1fPARTICIPANT' | sha256sum: first 16 digits, halved, modulo batches
    assert batch_of(dataset, participant, batches) == expected


@given(st.text(min_size=1), st.text(min_size=1), st.integers(1, 1000))
def test_a_batch_is_one_of_the_configured(dataset: str, participant: str, batches: int) -> None:
    assert 0 <= batch_of(dataset, participant, batches) < batches


def test_participants_spread_evenly_over_batches() -> None:
    counts = Counter(batch_of("ukb", f"sub-{i:07d}", 16) for i in range(16_000))
    assert len(counts) == 16
    assert max(counts.values()) < 1.15 * 1000


@given(st.lists(st.text(alphabet="ab", max_size=2), min_size=2, max_size=3))
def test_joined_parts_do_not_collide(parts: list[str]) -> None:
    if parts != ["".join(parts)]:
        assert stable_hash(*parts) != stable_hash("".join(parts))


def test_a_hash_fits_a_signed_64_bit_column() -> None:
    assert all(0 <= stable_hash(str(i)) < 2**63 for i in range(1000))


# --- fingerprints ---------------------------------------------------------------------------------


def test_a_filter_of_ready_series_makes_their_series_anew_but_not_their_list(tmp_path):
    dataset = {"kind": "timeseries", "role": "internal", "path": str(tmp_path), "t_r": 2.0}
    plain, filtered = (
        parse_config({"datasets": {"d": dataset | {"band_pass": asked}}}) for asked in (False, True)
    )
    assert stage_hash(plain, "timeseries", "d") != stage_hash(filtered, "timeseries", "d")
    assert stage_hash(plain, "connectivity", "d") != stage_hash(filtered, "connectivity", "d")
    assert stage_hash(plain, "scans", "d") == stage_hash(filtered, "scans", "d")


def test_criteria_of_ready_series_count_where_they_are_applied():
    """Raw BIDS is judged by `preprocess`, other kinds by `timeseries`."""
    assert ("timeseries", "ready") in changed(preprocess__min_volumes=50)
    assert ("timeseries", "ready") not in changed(preprocess__n_dummy_volumes=3)
    assert ("preprocess", "raw") in changed(preprocess__min_volumes=50)


def test_the_order_of_the_classes_counts():
    """The last class is the positive one."""
    swapped = {"yes": ["1"], "no": ["0"]}
    assert ("finetune", "asd") in changed(tasks__asd__classes=swapped)
    assert ("finetune", "mdd") not in changed(tasks__asd__classes=swapped)
