"""C-PAC's `.1D` files as confounds, written here as its source writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from nipype.algorithms.confounds import FramewiseDisplacement

from brainmass_core.config.timeseries import Timeseries
from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.readers.missing import times
from brainmass_core.timeseries.cpac import read_cpac
from brainmass_core.timeseries.design import ConfoundsError, design_matrix
from brainmass_core.timeseries.inputs import read_confounds

N = 50
STEM = "sub-01_ses-1_task-rest_run-1"
MOTION = ["RotY", "RotX", "RotZ", "Y", "X", "Z"]


def write_regressors(path: Path, columns: dict[str, np.ndarray]) -> Path:
    """Three lines of header, the last with the names, then tab-separated numbers."""
    header = f" C-PAC 1.8.7\n Nuisance regressors:\n {chr(9).join(columns)}"
    values = np.column_stack(list(columns.values()))
    np.savetxt(path, values, fmt="%.18f", delimiter="\t", header=header, comments="#")
    return path


@pytest.fixture
def volreg() -> np.ndarray:
    """Roll, pitch, yaw in degrees, then dS, dL, dP in mm."""
    return np.random.default_rng(0).normal(0, 0.2, (N, 6)).cumsum(axis=0)


@pytest.fixture
def columns(volreg: np.ndarray) -> dict[str, np.ndarray]:
    """C-PAC's default strategy."""
    rng = np.random.default_rng(1)
    made = {}
    for name, values in zip(MOTION, volreg.T, strict=True):
        delay = np.append([0.0], values[:-1])
        made |= {name: values, f"{name}Delay": delay, f"{name}Sq": values**2}
        made[f"{name}DelaySq"] = delay**2
    made["GlobalSignalMean0"] = 10_000 + rng.standard_normal(N)
    made |= {f"aCompCorDetrendPC{i}": rng.standard_normal(N) for i in range(5)}
    made["CerebrospinalFluidMean0"] = 9_000 + rng.standard_normal(N)
    return made


def test_columns_get_fmripreps_names_and_units(tmp_path: Path, columns, volreg) -> None:
    table = read_cpac(write_regressors(tmp_path / f"{STEM}_reg-default_regressors.1D", columns))
    components = [f"a_comp_cor_{i:02d}" for i in range(5)]
    motion = [f"{k}_{a}" for k in ("trans", "rot") for a in "xyz"]
    signals = ["global_signal", "csf"]
    assert set(table) == {*motion, *signals, *components, "framewise_displacement"}
    np.testing.assert_allclose(table["rot_z"], np.radians(volreg[:, 0]))  # roll, about S
    np.testing.assert_allclose(table["rot_x"], np.radians(volreg[:, 1]))  # pitch, about R
    np.testing.assert_allclose(table["trans_z"], volreg[:, 3])  # dS
    np.testing.assert_allclose(table["trans_y"], volreg[:, 5])  # dP
    np.testing.assert_allclose(table["a_comp_cor_03"], columns["aCompCorDetrendPC3"])
    np.testing.assert_allclose(table["csf"], columns["CerebrospinalFluidMean0"])


def test_displacement_equals_nipypes(tmp_path: Path, volreg: np.ndarray) -> None:
    path = tmp_path / f"{STEM}_desc-movementParameters_motion.1D"
    np.savetxt(path, volreg, fmt="%.10f")
    # nipype knows no degrees in AFNI's order, so it is given FSL's: rad, then mm
    fsl = np.column_stack([np.radians(volreg[:, :3]), volreg[:, 3:]])
    np.savetxt(tmp_path / "fsl.par", fsl, fmt="%.12f")
    node = FramewiseDisplacement(
        in_file=str(tmp_path / "fsl.par"),
        parameter_source="FSL",
        out_file=str(tmp_path / "fd.txt"),
    )
    node.run(cwd=str(tmp_path))
    theirs = np.loadtxt(tmp_path / "fd.txt", skiprows=1)
    ours = read_cpac(path)["framewise_displacement"].to_numpy()
    assert np.isnan(ours[0])
    np.testing.assert_allclose(ours[1:], theirs, atol=1e-6)


def test_the_design_made_from_them_spans_cpacs_own(tmp_path: Path, columns) -> None:
    path = write_regressors(tmp_path / f"{STEM}_desc-confounds_timeseries.1D", columns)
    settings = Timeseries(n_compcor=5, csf=True, global_signal=True, polynomial_order=0)
    ours = design_matrix(read_confounds(path, N), settings).to_numpy()
    theirs = np.column_stack([*columns.values(), np.ones(N)])
    unit = [d / np.linalg.norm(d, axis=0) for d in (ours, theirs)]
    assert ours.shape == theirs.shape
    assert np.linalg.matrix_rank(np.column_stack(unit)) == np.linalg.matrix_rank(unit[1])


def test_files_of_the_same_run_are_put_together(tmp_path: Path, columns, volreg) -> None:
    signals = {k: v for k, v in columns.items() if k.startswith(("Global", "Cereb"))}
    first = write_regressors(tmp_path / f"{STEM}_reg-A_regressors.1D", signals)
    white = {"WhiteMatterMean0": np.arange(N) * 1.0, "GlobalSignalMean0": np.zeros(N)}
    write_regressors(tmp_path / f"{STEM}_reg-B_regressors.1D", white)
    np.savetxt(tmp_path / f"{STEM}_desc-movementParameters_motion.1D", volreg)
    np.savetxt(tmp_path / f"{STEM}_desc-FDJenkinson_motion.1D", np.full(N, 0.1))
    np.savetxt(tmp_path / f"{STEM}0_desc-movementParameters_motion.1D", volreg[:9])  # run-10
    table = read_cpac(first)
    assert {"white_matter", "global_signal", "csf", "trans_x", "rot_z", "rmsd"} <= set(table)
    np.testing.assert_allclose(table["global_signal"], signals["GlobalSignalMean0"])
    np.testing.assert_allclose(table["rmsd"], 0.1)


def test_what_the_model_needs_and_is_missing_is_named(tmp_path: Path, volreg) -> None:
    path = tmp_path / f"{STEM}_desc-movementParameters_motion.1D"
    np.savetxt(path, volreg, header="3dvolreg")
    table = read_confounds(path, N)
    design_matrix(table, Timeseries(motion="6", n_compcor=0, csf=False))
    with pytest.raises(ConfoundsError, match=r"a_comp_cor_00.*csf"):
        design_matrix(table, Timeseries())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 2 3\n4 5 6\n", "found 3 columns and 0 names"),
        ("# C-PAC\n# Nuisance regressors:\n# X\tY\n1\t2\t3\n", "found 3 columns and 2 names"),
        ("# X\tY\n1\t2\n3\n", "regressors.1D"),
        ("# X\n\x00\x01\n", "regressors.1D"),
        ("# X\tY\n1\t2\n3\t4#5\n", "regressors.1D"),
    ],
)
def test_damaged_files_fail_with_what_was_found(tmp_path: Path, content, message) -> None:
    path = tmp_path / f"{STEM}_regressors.1D"
    path.write_text(content)
    with pytest.raises(ScanFailed, match=message) as caught:
        read_confounds(path, 2)
    assert str(path) in caught.value.reason


@pytest.mark.parametrize(
    ("name", "code", "n"),
    [("GlobalSignalMean0", -9999, 3), ("X", -999, 1), ("RotY", 999, 2), ("CsfMean0", 9999, 2)],
)
def test_codes_of_missing_values_are_refused_with_counts(tmp_path, columns, name, code, n) -> None:
    columns["CerebrospinalFluidMean0"] = np.linspace(0, 1, N)
    name = name.replace("Csf", "CerebrospinalFluid")
    columns[name] = columns[name] - columns[name].mean()
    columns[name][3 : 3 + n] = code
    path = write_regressors(tmp_path / f"{STEM}_regressors.1D", columns)
    with pytest.raises(ScanFailed, match=rf"line 7: found {code} \({times(n)}\)") as caught:
        read_confounds(path, N)
    assert str(path) in caught.value.reason
    assert "write nan where a value is missing" in caught.value.reason


@pytest.mark.parametrize("name", ["FDJenkinson", "FDPower", "movementParameters"])
def test_codes_in_files_of_motion_are_refused(tmp_path, volreg, name) -> None:
    values = volreg if name == "movementParameters" else np.full((N, 1), 0.1)
    values[4] = -9999
    path = tmp_path / f"{STEM}_desc-{name}_motion.1D"
    np.savetxt(path, values)
    with pytest.raises(ScanFailed, match="line 5: found -9999"):
        read_confounds(path, N)


def test_missing_and_infinite_values_are_missing(tmp_path: Path, caplog) -> None:
    path = tmp_path / f"{STEM}_regressors.1D"
    path.write_text("# GlobalSignalMean0\tX\nn/a\t1\n2\tinf\n3\tNaN\n\n4\t2\n")
    table = read_confounds(path, 4)
    np.testing.assert_array_equal(table["global_signal"], [np.nan, 2, 3, 4])
    np.testing.assert_array_equal(table["trans_x"], [1, np.nan, np.nan, 2])
    assert "1 infinite values" in caplog.text


def test_two_columns_that_are_one_of_ours_are_refused(tmp_path: Path) -> None:
    path = tmp_path / f"{STEM}_regressors.1D"
    path.write_text("# aCompCorPC0\taCompCorDetrendPC0\n1\t2\n3\t5\n")
    with pytest.raises(ScanFailed, match=r"aCompCorPC0, aCompCorDetrendPC0 are all a_comp_cor_00"):
        read_confounds(path, 2)


def test_files_of_different_lengths_fail(tmp_path: Path, columns, volreg) -> None:
    signals = {"GlobalSignalMean0": columns["GlobalSignalMean0"]}
    path = write_regressors(tmp_path / f"{STEM}_regressors.1D", signals)
    np.savetxt(tmp_path / f"{STEM}_desc-movementParameters_motion.1D", volreg[:-2])
    with pytest.raises(ScanFailed, match=f"{N} rows, but .* has {N - 2}"):
        read_confounds(path, N)


def test_a_table_of_fmriprep_is_read_as_before(tmp_path: Path) -> None:
    path = tmp_path / "confounds.tsv"
    path.write_text("csf\ttrans_x\nn/a\t1\n2\t3\n")
    pd.testing.assert_frame_equal(
        read_confounds(path, 2), pd.DataFrame({"csf": [np.nan, 2.0], "trans_x": [1.0, 3.0]})
    )


def test_powers_displacement_of_cpac_counts_where_there_is_no_motion(tmp_path: Path, columns):
    still = {k: v for k, v in columns.items() if not k.startswith(tuple(MOTION))}
    path = write_regressors(tmp_path / f"{STEM}_reg-default_regressors.1D", still)
    written = np.random.default_rng(3).random(N)
    np.savetxt(tmp_path / f"{STEM}_desc-FDPower_motion.1D", written)
    np.testing.assert_allclose(read_cpac(path)["framewise_displacement"], written)
