"""The command lines that nipype renders, and that would run if the programs were installed."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmass_core.preprocess.engines import afni, ants, distortion, fsl


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Inputs that exist, because nipype checks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FSLDIR", str(tmp_path))
    names = ["t.1D", "m.mat", "prior01.nii", "prior02.nii", "prior03.nii", "etc/flirtsch/bbr.sch"]
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    for name in "abcd":
        nib.save(nib.Nifti1Image(np.zeros((4, 4, 4, 2), np.float32), np.eye(4)), f"{name}.nii")
    return {p.stem: tmp_path / p.name for p in map(Path, ["t.1D", "m.mat"])} | {
        name: tmp_path / f"{name}.nii" for name in "abcd"
    }


def rendered(interface, tmp_path):
    """The words of the command, without the folder."""
    return " ".join(interface.cmdline.replace(f"{tmp_path}/", "").split())


def test_bet_runs_with_a_robust_centre_and_c_pac_s_fraction(files, tmp_path):
    command = rendered(fsl.bet(files["a"]), tmp_path)
    assert command == "bet a.nii a_brain.nii.gz -f 0.50 -m -R"


def test_fast_runs_on_one_corrected_t1w(files, tmp_path):
    command = rendered(fsl.fast(files["a"]), tmp_path)
    assert command == "fast -t 1 -N -n 3 -o fast -S 1 a.nii"


def test_flirt_runs_as_in_c_pac(files, tmp_path):
    command = rendered(fsl.flirt(files["a"], files["b"], dof=12), tmp_path)
    assert command == (
        "flirt -in a.nii -ref b.nii -out a_flirt.nii.gz -omat a_flirt.mat -cost corratio -dof 12 "
        "-interp trilinear"
    )


def test_the_boundary_starts_from_the_first_matrix(files, tmp_path):
    command = rendered(fsl.flirt_bbr(files["a"], files["b"], files["c"], files["m"]), tmp_path)
    assert command == (
        "flirt -in a.nii -ref b.nii -out bbr.nii.gz -omat bbr.mat -cost bbr -dof 6 -init m.mat "
        "-schedule etc/flirtsch/bbr.sch -wmseg c.nii"
    )


def test_fnirt_keeps_the_affine_and_its_field_is_converted_with_it(files, tmp_path):
    command = rendered(fsl.fnirt(files["a"], files["b"], files["c"], files["m"]), tmp_path)
    assert command == (
        "fnirt --aff=m.mat --config=T1_2_MNI152_2mm --cout=a_fieldwarp.nii.gz --in=a.nii "
        "--logout=a_log.txt --ref=b.nii --refmask=c.nii --iout=a_warped.nii.gz"
    )
    command = rendered(fsl.convertwarp(files["b"], files["a"]), tmp_path)
    assert command == "convertwarp --ref=b.nii --relout --warp1=a.nii --out=b_concatwarp.nii.gz"


def test_mcflirt_keeps_its_matrices(files, tmp_path):
    command = rendered(fsl.mcflirt(files["a"], files["b"]), tmp_path)
    assert command == "mcflirt -in a.nii -out a_mcf.nii.gz -reffile b.nii -mats"


def test_slicetimer_takes_a_time_for_each_slice(files, tmp_path):
    command = rendered(fsl.slicetimer(files["a"], files["t"], 2.5), tmp_path)
    assert command == (
        "slicetimer --in=a.nii --tcustom=t.1D --out=a_st.nii.gz --direction=3 --repeat=2.500000"
    )


def test_topup_takes_fsl_s_standard_settings(files, tmp_path):
    command = rendered(distortion.topup(files["a"], files["t"]), tmp_path)
    assert command.startswith("topup --config=b02b0.cnf --datain=t.1D --imain=a.nii --out=a_base ")
    assert "--fout=a_field.nii.gz" in command.split()


def test_prelude_works_in_three_dimensions(files, tmp_path):
    command = rendered(distortion.prelude(files["a"], files["b"], files["c"]), tmp_path)
    assert command == (
        "prelude --abs=b.nii --mask=c.nii --phase=a.nii --force3D --unwrap=a_unwrapped.nii.gz"
    )


def test_volreg_runs_as_in_c_pac(files, tmp_path):
    command = rendered(afni.volreg(files["a"], files["b"]), tmp_path)
    assert command == (
        "3dvolreg -twopass -Fourier -1Dfile a.1D -1Dmatrix_save motion.aff12.1D "
        "-prefix moved.nii.gz -base b.nii -zpad 4 -maxdisp1D a_md.1D a.nii"
    )


def test_tshift_takes_seconds(files, tmp_path):
    command = rendered(afni.tshift(files["a"], files["t"], 2.5, 1.2), tmp_path)
    assert command == (
        "3dTshift -Fourier -prefix timed.nii.gz -tpattern @t.1D -TR 2.5s -tzero 1.2 a.nii"
    )


def test_despiking_leaves_no_voxel_out(files, tmp_path):
    command = rendered(afni.despiking(files["a"]), tmp_path)
    assert command == "3dDespike -NEW -nomask -prefix despiked.nii.gz a.nii"


def test_skullstrip_keeps_intensities_and_needs_no_display(files, tmp_path):
    interface = afni.skullstrip(files["a"])
    assert rendered(interface, tmp_path) == (
        "3dSkullStrip -input a.nii -orig_vol -prefix brain.nii.gz"
    )
    assert not interface._redirect_x


def test_n4_runs_as_the_embedded_one(files, tmp_path):
    command = rendered(ants.n4(files["a"], files["b"], 3), tmp_path)
    assert command == (
        "N4BiasFieldCorrection -d 3 --input-image a.nii --mask-image b.nii "
        "--convergence [ 50x30x20x10, 1e-07 ] --output corrected.nii.gz --shrink-factor 3"
    )


def test_brain_extraction_of_ants_is_not_random(files, tmp_path):
    command = rendered(ants.extraction(*(files[x] for x in "abcd")), tmp_path)
    assert command == (
        "antsBrainExtraction.sh -a a.nii -m c.nii -e b.nii -d 3 -f d.nii -s nii.gz -o brain_ -u 0"
    )


def test_atropos_starts_from_the_priors_and_is_not_random(files, tmp_path):
    command = rendered(ants.atropos(files["a"], files["b"], tmp_path / "prior%02d.nii"), tmp_path)
    assert command == (
        "Atropos --image-dimensionality 3 "
        "--initialization PriorProbabilityImages[3,prior%02d.nii,0.25] --intensity-image a.nii "
        "--likelihood-model Gaussian --mask-image b.nii --mrf [0.1,1x1x1] --convergence [5,0.0001] "
        "--output [classes.nii.gz,posterior%02d.nii.gz] --posterior-formulation Socrates[1] "
        "--use-random-seed 0"
    )


LINEAR = (
    "--transform {name}[ 0.1 ] --metric MI[ a.nii, b.nii, 1, 32, Regular, 0.25 ] "
    "--convergence [ 1000x500x250x100, 1e-06, 10 ] --smoothing-sigmas 3.0x2.0x1.0x0.0vox "
    "--shrink-factors 8x4x2x1 --use-histogram-matching 1 "
)


def test_registration_to_the_template_has_c_pac_s_parameters(files, tmp_path):
    command = rendered(ants.registration(files["a"], files["b"], "syn"), tmp_path)
    assert LINEAR.format(name="Rigid") + LINEAR.format(name="Affine") in command
    assert (
        "--transform SyN[ 0.1, 3.0, 0.0 ] --metric CC[ a.nii, b.nii, 1, 4 ] "
        "--convergence [ 100x100x70x20, 1e-09, 15 ] --smoothing-sigmas 3.0x2.0x1.0x0.0vox "
        "--shrink-factors 6x4x2x1 --use-histogram-matching 1 "
        "--winsorize-image-intensities [ 0.01, 0.99 ]"
    ) in command
    assert "--random-seed 1" in command


@pytest.mark.parametrize(("kind", "stages"), [("rigid", 1), ("affine", 2), ("syn_fast", 3)])
def test_registration_goes_as_far_as_asked(files, tmp_path, kind, stages):
    command = rendered(ants.registration(files["a"], files["b"], kind), tmp_path)
    assert command.count("--transform ") == stages
    # BOLD and T1w have different histograms
    assert ("--use-histogram-matching 0" in command) == (kind == "rigid")
