import numpy as np
import pandas as pd
import pytest

from brainmass_core.config.tasks import Task
from brainmass_core.finetune import few_shot, zero_shot
from brainmass_core.finetune.adjustment import ComBat, Regress, match
from brainmass_core.finetune.cohort.labels import TaskError
from brainmass_core.finetune.confounds import (
    confounds_beside,
    confounds_of,
    known_sites,
    left_by_combat,
    refuse_codes_of_sex,
    say_unadjusted,
)
from brainmass_core.finetune.folds.participants import Fold
from brainmass_core.finetune.methods import tangent
from brainmass_core.finetune.methods.fitting import Design
from brainmass_core.finetune.methods.tangent import TangentSpace


def people(n, seed=0, sites="abc"):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "site": np.array(list(sites))[np.arange(n) % len(sites)],
            "sex": np.where(rng.random(n) < 0.5, "F", "M"),
            "age": rng.uniform(10, 60, n),
            "mean_fd": rng.exponential(0.2, n),
        }
    )


def scanners(n, n_features=200, seed=0, n_sites=3):
    """Features with a shift and a scale per site and feature, and the features without them."""
    rng = np.random.default_rng(seed)
    table = people(n, seed, "abcdefgh"[:n_sites])
    clean = rng.standard_normal((n, n_features)) + rng.standard_normal(n_features)
    site = table["site"].map(dict(zip("abcdefgh", range(8), strict=True))).to_numpy()
    shift = 1.5 * rng.standard_normal((8, n_features)) + np.arange(8)[:, None]
    scale = rng.uniform(0.5, 2, (8, n_features))
    return clean * scale[site] + shift[site], clean, table


def test_regression_leaves_no_linear_trace_in_the_training_scans():
    rng = np.random.default_rng(1)
    table = people(200)
    X = (
        rng.standard_normal((200, 5))
        + table[["age"]].to_numpy()
        + (table[["site"]] == "a").to_numpy()
    )
    out = Regress(["site", "sex", "age", "mean_fd"]).fit(X, table).transform(X, table)
    for column in ("age", "mean_fd"):
        assert np.abs(np.corrcoef(out.T, table[column])[-1, :-1]).max() < 1e-10
    for column in ("site", "sex"):
        means = pd.DataFrame(out).groupby(table[column].to_numpy()).mean()
        assert np.ptp(means.to_numpy(), axis=0).max() < 1e-10
    assert out.mean(0) == pytest.approx(X.mean(0)), "the features' own means stay"


def test_regression_equals_a_fit_by_least_squares_on_the_training_scans():
    rng = np.random.default_rng(2)
    table, X = people(80), rng.standard_normal((80, 3))
    train, test = np.arange(50), np.arange(50, 80)
    out = Regress(["age", "mean_fd"]).fit(X[train], table.iloc[train])
    found = out.transform(X[test], table.iloc[test])
    numbers = table[["age", "mean_fd"]].to_numpy()
    centred = numbers - numbers[train].mean(0)
    design = np.column_stack([np.ones(50), centred[train]])
    beta = np.linalg.lstsq(design, X[train], rcond=None)[0]
    assert found == pytest.approx(X[test] - centred[test] @ beta[1:])


def test_combat_takes_the_scanner_out_of_scans_it_has_not_seen():
    X, clean, table = scanners(600)
    train, test = np.arange(300), np.arange(300, 600)
    combat = ComBat().fit(X[train], table.iloc[train])
    out = combat.transform(X[test], table.iloc[test])
    site = table["site"].iloc[test].to_numpy()
    means = np.stack([out[site == s].mean(0) for s in "abc"])
    spreads = np.stack([out[site == s].std(0) for s in "abc"])
    before = np.stack([X[test][site == s].mean(0) for s in "abc"])
    assert np.ptp(means, axis=0).mean() < 0.15 * np.ptp(before, axis=0).mean()
    assert np.abs(spreads / spreads.mean(0) - 1).mean() < 0.1
    follow = [np.corrcoef(out[:, j], clean[test, j])[0, 1] for j in range(200)]
    assert min(follow) > 0.9, "what lies below the scanner stays"


def test_combat_with_many_scans_is_standardising_each_site():
    # shrinkage fades as n grows: the posterior is the site's own mean and variance
    X, _, table = scanners(30_000, n_features=20)
    out = ComBat().fit(X, table).transform(X, table)
    site = table["site"].to_numpy()
    grand = X.mean(0)
    pooled = np.sqrt(sum(((X[site == s] - X[site == s].mean(0)) ** 2).sum(0) for s in "abc") / 3e4)
    for s in "abc":
        own = X[site == s]
        expected = (own - own.mean(0)) / own.std(0, ddof=1) * pooled + grand
        np.testing.assert_allclose(out[site == s], expected, rtol=0, atol=0.02)


def test_combat_shrinks_the_shift_of_a_small_site_towards_the_sites_other_features():
    rng = np.random.default_rng(3)
    table = people(43, sites="a")
    table.loc[40:, "site"] = "b"
    X = rng.standard_normal((43, 500))
    X[40:] += 1.0  # one shift for all features, known from 500 of them
    shift, _ = ComBat().fit(X, table).effects_["b"]
    own = X[40:].mean(0) - X.mean(0)
    assert shift.std() < 0.7 * own.std()
    assert shift.mean() == pytest.approx((own / X.std(0)).mean(), rel=0.1)


def test_an_unseen_site_and_one_of_two_scans_are_left_as_they_are():
    X, _, table = scanners(60)
    table.loc[:1, "site"] = "rare"
    new = table.assign(site=["rare"] * 20 + ["never"] * 20 + ["unknown"] * 20)
    combat = ComBat().fit(X, table)
    assert (combat.transform(X, new) == X).all()
    assert known_sites(table) == ["a", "b", "c"]
    one = ComBat().fit(X, table.assign(site="a"))
    assert (one.transform(X, table.assign(site="a")) == X).all()


def test_matched_classes_are_equally_large_at_each_site_and_sex():
    table, rng = people(400), np.random.default_rng(4)
    y = (rng.random(400) < np.where(table["site"] == "a", 0.8, 0.3)).astype(int)
    groups = np.arange(400) // 2
    y, table = y[groups * 2], table.iloc[groups * 2].reset_index(drop=True)
    train = np.arange(300)
    kept = match(train, y, groups, table, seed=1)
    assert set(kept) <= set(train)
    cells = table.iloc[kept].assign(y=y[kept]).groupby(["site", "sex"])["y"].mean()
    assert (cells == 0.5).all()
    assert len(kept) == 2 * len(set(groups[kept])), "both scans of who is kept"
    assert len(kept) > 100


def test_matching_without_a_common_cell_is_refused():
    table = people(20).assign(sex="F", site=["a"] * 10 + ["b"] * 10)
    with pytest.raises(TaskError, match="leaves no training participants"):
        match(np.arange(20), np.repeat([0, 1], 10), None, table, seed=0)


def test_the_geometric_mean_is_the_origin_of_the_tangent_space():
    rng = np.random.default_rng(6)
    series = rng.standard_normal((30, 20, 8)) + rng.standard_normal((30, 20, 1))
    fc = np.stack([np.corrcoef(s.T)[np.triu_indices(8, 1)] for s in series])
    space = TangentSpace().fit(fc)
    assert np.abs(space.transform(fc).mean(0)).max() < 1e-5
    assert space.transform(fc).shape == (30, 36)


def test_of_many_scans_an_even_share_of_each_site_makes_the_origin():
    rng = np.random.default_rng(9)
    sites = np.repeat([0.0, 3.0], 60)  # consecutive, as a task's scans are
    series = rng.standard_normal((120, 40, 8)) + sites[:, None, None] * rng.standard_normal(
        (120, 40, 1)
    )
    fc = np.stack([np.corrcoef(s.T)[np.triu_indices(8, 1)] for s in series])
    some, every = TangentSpace(mean_scans=30).fit(fc), TangentSpace().fit(fc)
    rows = np.linspace(0, 119, 30).round().astype(int)
    assert np.bincount(rows // 60).tolist() == [15, 15]
    np.testing.assert_array_equal(
        some.transform(fc), TangentSpace(mean_scans=30).fit(fc[rows]).transform(fc)
    )
    apart = some.transform(fc) - every.transform(fc)
    assert np.abs(apart).mean() < 0.1 * np.abs(every.transform(fc)).mean()


def test_a_tangent_vector_does_not_depend_on_the_scans_beside_it(monkeypatch):
    rng = np.random.default_rng(10)
    fc = np.stack(
        [np.corrcoef(rng.standard_normal((6, 30)))[np.triu_indices(6, 1)] for _ in range(7)]
    )
    space = TangentSpace().fit(fc)
    whole = space.transform(fc)
    monkeypatch.setattr(tangent, "CHUNK", 3)
    np.testing.assert_array_equal(space.transform(fc), whole)


def test_the_tangent_of_one_scan_at_another_is_the_matrix_logarithm():
    from scipy.linalg import fractional_matrix_power, logm

    rng = np.random.default_rng(7)
    matrices = [np.corrcoef(rng.standard_normal((5, 12))) for _ in range(2)]
    upper = np.triu_indices(5, 1)
    space = TangentSpace().fit(np.stack([matrices[0][upper]] * 3))
    found = space.transform(matrices[1][upper][None])[0]
    g, r = (0.9 * m + 0.1 * np.eye(5) for m in matrices)
    white = fractional_matrix_power(g, -0.5)
    expected = logm(white @ r @ white)
    assert found[0] == pytest.approx(expected[0, 0] / np.sqrt(2), abs=1e-5)
    full = np.zeros((5, 5))
    full[np.tril_indices(5)] = found
    assert full[np.tril_indices(5, -1)] == pytest.approx(expected[np.tril_indices(5, -1)], abs=1e-5)


def test_series_shorter_than_parcels_still_have_a_tangent():
    rng = np.random.default_rng(8)
    fc = np.stack(
        [np.corrcoef(rng.standard_normal((8, 5)))[np.triu_indices(8, 1)] for _ in range(6)]
    )
    assert np.isfinite(TangentSpace().fit(fc).transform(fc)).all()


def cohorts():
    """Two data sets that both call a site ``1``; the second has a scan without a site."""
    table = people(12, sites="1")
    table["dataset"] = ["a"] * 6 + ["b"] * 6
    table.loc[11, "site"] = None
    return table


def test_sites_of_two_data_sets_with_one_name_are_two_sites():
    found = confounds_of(cohorts())["site"].tolist()
    assert found == ["a/1"] * 6 + ["b/1"] * 5 + ["unknown"]


def test_a_data_set_without_any_site_is_one_site():
    table = cohorts()
    table.loc[6:, "site"] = None
    assert confounds_of(table)["site"].tolist() == ["a/1"] * 6 + ["b"] * 6


def test_a_new_cohort_is_not_harmonised_by_a_site_of_the_same_name():
    X, _, table = scanners(60)
    train = confounds_of(table.assign(dataset="old"))
    new = confounds_of(table.assign(dataset="new"))
    assert (ComBat().fit(X, train).transform(X, new) == X).all()


def test_tested_scans_that_combat_leaves_are_counted_and_named(caplog):
    task = Task(datasets=["d"], label="dx", classes={"a": ["1"], "b": ["2"]}, confounds="combat")
    scans = people(30).assign(dataset="d")
    scans.loc[:1, "site"] = "rare"
    here = Fold(0, 0, np.arange(2, 20), np.r_[0, 1, 20:30])
    assert left_by_combat(task, scans, [here]).index.tolist() == [0, 1]
    at_c = (scans["site"] == "c").to_numpy()
    site_out = Fold(0, 1, np.flatnonzero(~at_c), np.flatnonzero(at_c))
    left = left_by_combat(task, scans, [here, site_out])
    assert len(left) == 2 + at_c.sum()
    say_unadjusted("t", left)
    assert f"does not adjust {len(left)} tested scans" in caplog.text
    assert f"d/c ({at_c.sum()}), d/rare (2)" in caplog.text
    plain = task.model_copy(update={"confounds": "regress"})
    assert left_by_combat(plain, scans, [here]) is None


def two_cohorts(first, second):
    rows = [("a", sex) for sex in first] + [("b", sex) for sex in second]
    scans = pd.DataFrame(rows, columns=["dataset", "sex"]).assign(site=None, age=30.0, mean_fd=0.1)
    return scans.assign(y=0, participant=scans.index, participant_id=scans.index)


@pytest.mark.parametrize(
    ("first", "second"), [("MF", ["male", "Female"]), (["1", "2"], ["1.0", "02"]), ("MF", "MM")]
)
def test_the_sexes_of_two_cohorts_are_one_however_they_are_written(first, second):
    scans = two_cohorts(first, second)
    refuse_codes_of_sex(scans)
    found = confounds_of(scans)["sex"].tolist()
    assert set(found[2:]) <= set(found[:2]) in ({"M", "F"}, {"1", "2"})


@pytest.mark.parametrize(
    ("first", "second"), [("MF", "12"), ("12", "01"), ("MF", "MW"), ("FM", ["O", "man"])]
)
def test_sexes_of_two_cohorts_that_cannot_be_compared_are_refused_where_they_are_used(
    first, second
):
    scans, X = two_cohorts(first, second), np.ones((4, 3))
    said = rf"a: {', '.join(sorted(first))}; b: .*; write M and F in their phenotype tables"
    classes = {"n": ["0"], "p": ["1"]}
    task = Task(datasets=["a", "b"], label="dx", classes=classes, confounds="regress")
    fold = Fold(0, 0, np.arange(2), np.arange(2, 4))
    uses = (
        lambda: Design.of(task, scans),
        lambda: confounds_beside(scans, []),
        lambda: few_shot._adjusted(X, scans, fold, task),
        lambda: zero_shot._regressed((X[:2], X[2:]), scans[:2], scans[2:], ["sex"]),
    )
    for use in uses:
        with pytest.raises(TaskError, match=said):
            use()
    confounds_beside(scans, ["sex"])  # sex is the target
    Design.of(task.model_copy(update={"confound_columns": ["age"]}), scans)
