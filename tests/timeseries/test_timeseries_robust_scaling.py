"""Robust scaling: the unit of a Gaussian, statistics of the fit alone."""

import numpy as np
import pytest
from scipy.stats import norm

from brainmass_core.timeseries.robust_scaling import ScalingError, fit


def recordings(n=30, n_rois=4, scale=41.0, seed=0):
    rng = np.random.default_rng(seed)
    spread = scale * np.arange(1, n_rois + 1)
    return [1000 + spread * rng.standard_normal((200, n_rois)) for _ in range(n)]


def test_a_gaussian_has_one_over_its_quartile_range_as_standard_deviation():
    data = recordings()
    scaling = fit(data)
    scaled = np.concatenate([scaling.apply(x) for x in data])
    unit = 1 / (norm.ppf(0.75) - norm.ppf(0.25))  # 0.741
    np.testing.assert_allclose(scaled.std(0), unit, rtol=0.03)
    assert scaled.dtype == np.float32
    # the released line, x - median / IQR, leaves the unit of the series
    x = data[0] - data[0].mean(0)
    released = x - np.array(scaling.median) / np.array(scaling.iqr)
    assert (released.std(0) / unit > 10).all()


def test_others_are_scaled_with_the_statistics_of_the_fit():
    scaling = fit(recordings())
    wider = recordings(1, scale=410.0, seed=1)[0]
    assert (scaling.apply(wider).std(0) > 5).all()
    centred = wider - wider.mean(0)
    np.testing.assert_allclose(
        scaling.apply(wider), (centred - scaling.median) / scaling.iqr, rtol=1e-5, atol=1e-5
    )


def test_zeros_and_late_timepoints_do_not_enter_the_statistics():
    data = recordings()
    longer = [np.concatenate([x, np.repeat(x.mean(0)[None] * 1.0, 50, 0)]) for x in data]
    assert fit(longer).iqr == pytest.approx(fit(data).iqr, rel=1e-3)
    plain = [x - x.mean(0) for x in data]
    holes = [x.copy() for x in plain]
    for x in holes:
        x[::2, 1] = 0
    found, wanted = fit(holes), fit([x[1::2] for x in plain])
    assert found.iqr[1] == pytest.approx(wanted.iqr[1], rel=0.05)


def test_what_cannot_be_scaled_is_refused():
    scaling = fit(recordings(2))
    with pytest.raises(ScalingError, match=r"expected \(timepoints, 4\)"):
        scaling.apply(np.zeros((10, 5)))
    with pytest.raises(ScalingError, match="no recording"):
        fit([])
    with pytest.raises(ScalingError, match="5 parcels after one of 4"):
        fit([*recordings(1), *recordings(1, n_rois=5)])
    flat = recordings(2)
    for x in flat:
        x[:, 2] = 3.0
    with pytest.raises(ScalingError, match=r"1 parcels do not vary, such as 2"):
        fit(flat)
