"""Motion of a run from its table of confounds."""

import numpy as np
import pandas as pd
import pytest

from brainmass_core.config import parse_config
from brainmass_core.config.preprocess import Preprocess
from brainmass_core.config.timeseries import Censor
from brainmass_core.pipeline.manifest import ScanExcluded
from brainmass_core.timeseries.censor import censored_volumes
from brainmass_core.timeseries.motion_limits import (
    displacement,
    n_non_steady,
    not_applied,
    refuse_moving,
    steady,
)

# the third volume is the first in the steady state, and lies 9 mm from the second
JUMP = pd.DataFrame(
    {
        "framewise_displacement": [np.nan, 0.1, 9.0, 0.2, 0.4, 0.6],
        "rmsd": [np.nan, 0.1, 5.0, 0.1, 0.2, 0.3],
        "std_dvars": [np.nan, 1.0, 30.0, 1.0, 1.2, 1.4],
        "trans_x": [0.0, 0.1, 9.1, 9.3, 9.7, 9.1],
        "non_steady_state_outlier00": [1, 0, 0, 0, 0, 0],
        "non_steady_state_outlier01": [0, 1, 0, 0, 0, 0],
    }
)


def test_the_first_volume_has_no_displacement_and_does_not_count():
    fd = pd.DataFrame({"framewise_displacement": [np.nan, 0.2, 0.4]})
    assert displacement(fd).mean == pytest.approx(0.3)
    assert displacement(pd.DataFrame({"other": [1.0]})) is None
    assert displacement(pd.DataFrame({"framewise_displacement": [np.nan]})) is None
    zero = pd.DataFrame({"rmsd": [0.0, 0.2, 0.4]})  # as C-PAC and XCP-D write the first
    assert displacement(steady(zero)[1]).mean == pytest.approx(0.3)


def test_volumes_before_the_steady_state_are_those_at_the_start():
    assert n_non_steady(JUMP) == 2
    assert n_non_steady(pd.DataFrame({"csf": [1.0, 2.0]})) == 0


def test_the_jump_from_the_last_volume_left_out_is_not_counted():
    first, kept = steady(JUMP)
    assert (first, len(kept)) == (2, 4)
    assert kept[["framewise_displacement", "rmsd", "std_dvars"]].iloc[0].isna().all()
    assert displacement(kept).mean == pytest.approx((0.2 + 0.4 + 0.6) / 3)
    found = refuse_moving(kept, Preprocess(max_mean_fd=0.5, max_std_dvars=1.3), "c.tsv")
    assert found.kind == "power"
    assert kept["trans_x"].tolist() == [9.1, 9.3, 9.7, 9.1]
    assert JUMP["framewise_displacement"][2] == 9.0  # the table itself is left alone


def test_the_jump_censors_neither_its_volume_nor_neighbours():
    _, kept = steady(JUMP)
    settings = {"fd_threshold": 0.5, "std_dvars_threshold": 1.5, "n_after": 2}
    assert censored_volumes(kept, Censor(**settings)).tolist() == [False, False, False, True]
    assert censored_volumes(JUMP, Censor(**settings)).sum() == 4


def test_displacement_of_the_motion_parameters_leaves_the_jump_out():
    table = pd.DataFrame(
        {f"{k}_{a}": [0.0] * 4 for k in ("trans", "rot") for a in "xyz"}
        | {"trans_x": [0.0, 9.0, 9.1, 9.3], "rot_y": [0.0, 0.0, 0.002, 0.002]}
        | {"non_steady_state_outlier00": [1, 0, 0, 0]}
    )
    fd = displacement(steady(table)[1])
    np.testing.assert_allclose(fd.mm, [np.nan, 0.1 + 50 * 0.002, 0.2])
    assert censored_volumes(steady(table)[1], Censor(fd_threshold=0.19)).tolist() == [0, 1, 1]


def test_a_share_of_moving_volumes_and_dvars_are_limits_on_derivatives_too():
    _, kept = steady(JUMP)
    exactly = {"max_mean_fd": None, "fd_threshold": 0.3, "max_censored_fraction": 0.5}
    refuse_moving(kept, Preprocess(**exactly), "c.tsv")
    with pytest.raises(ScanExcluded, match=r"c\.tsv: 50% of the volumes .* 0\.3 mm \(Power's"):
        refuse_moving(kept, Preprocess(**exactly | {"max_censored_fraction": 0.49}), "c.tsv")
    with pytest.raises(ScanExcluded, match=r"DVARS 1\.20 is above .*1\.1"):
        refuse_moving(kept, Preprocess(max_std_dvars=1.1), "c.tsv")


def test_limits_that_a_kind_of_data_cannot_meet_are_listed(tmp_path):
    def left(kind, **sections):
        dataset = {"kind": kind, "role": "external", "path": str(tmp_path), "t_r": 2.0}
        if kind != "timeseries":
            del dataset["t_r"]
        return not_applied(parse_config({"datasets": {"lab": dataset}, **sections}), "lab")

    strict = {
        "preprocess": {"min_tsnr": 20, "max_std_dvars": 1.5},
        "timeseries": {"censor": {"method": "remove"}},
    }
    assert left("bids", **strict) == []
    assert left("derivatives", **strict) == ["preprocess.min_tsnr 20"]
    assert left("timeseries", **strict) == [
        *("preprocess.max_mean_fd 0.5", "preprocess.max_std_dvars 1.5", "preprocess.min_tsnr 20"),
        "timeseries.censor.method remove",
    ]
