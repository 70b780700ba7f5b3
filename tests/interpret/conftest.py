import interpret_study
import pytest
import synthetic_study


@pytest.fixture
def planted(monkeypatch, tmp_path):
    """A function that writes such a study, and a model with random weights: no pre-training."""

    def write(effect: float, seed: int = 0, **more):
        monkeypatch.setattr(synthetic_study, "N_ROIS", interpret_study.N_ROIS)
        monkeypatch.setattr(synthetic_study, "_series", interpret_study.planted_series)
        folder = tmp_path / f"effect-{effect}-{seed}"
        study = synthetic_study.write_study(
            folder,
            n_participants=160,
            effect=effect,
            seed=seed,
            methods=("chance", "fc_svm", "brainmass_svm"),
            protocol={"n_splits": 5, "n_repeats": 2},
            **more,
        )
        synthetic_study.write_model(study, n_rois=interpret_study.N_ROIS)
        return study

    return write
