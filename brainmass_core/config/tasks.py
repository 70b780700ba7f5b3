"""Sections of the configuration for tasks: targets, participants, protocols and methods."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from brainmass_core.config.base import Name, Strict
from brainmass_core.config.names import MethodName
from brainmass_core.config.query import parse_query
from brainmass_core.encoders.registry import METHODS

ConfoundName = Literal["site", "sex", "age", "mean_fd"]


class Protocol(Strict):
    """Training and test participants. All scans of a participant are on the same side."""

    kind: Literal["repeated_kfold", "leave_one_site_out", "fixed_split", "cross_cohort"] = Field(
        "repeated_kfold",
        description="`repeated_kfold`: stratified by label and site. `leave_one_site_out`: each "
        "site is tested by a model that was not trained on it. `fixed_split`: one training set, "
        "test participants drawn again from the others in each repeat, as in the BrainMass paper. "
        "`cross_cohort`: trained on some data sets, tested on the others.",
    )
    n_splits: int = Field(5, ge=2, description="Folds (`repeated_kfold`).")
    n_repeats: int = Field(
        5,
        ge=1,
        description="Number of repetitions with other folds, or other test participants "
        "(`fixed_split`: the paper has 10).",
    )
    min_per_class: int = Field(
        5,
        ge=1,
        description="A site with fewer evaluation participants of any class is used for training "
        "but not tested (`leave_one_site_out`). For a regression the number of all participants "
        "counts.",
    )
    train_fraction: float = Field(
        0.7,
        gt=0,
        lt=1,
        description="Fraction of participants for training, if no data set has a training split "
        "(`fixed_split` on `external` data).",
    )
    test_fraction: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Fraction of the other participants that is drawn for testing in each repeat "
        "(`fixed_split`; the paper draws 15 % of all, half of the remaining 30 %).",
    )
    split_column: str | None = Field(
        None, description="Phenotype column that marks the training participants (`fixed_split`)."
    )
    train_values: list[str] = Field(
        ["1", "train"], description="Values of `split_column` that mean training."
    )
    train_datasets: list[Name] = Field(
        default_factory=list, description="Data sets to train on (`cross_cohort`)."
    )

    @model_validator(mode="after")
    def _complete(self) -> Protocol:
        if (self.kind == "cross_cohort") != bool(self.train_datasets):
            raise ValueError(
                f"found kind {self.kind} with train_datasets {self.train_datasets}: cross_cohort "
                "needs at least one, the other kinds none"
            )
        if self.split_column and self.kind != "fixed_split":
            raise ValueError(f"split_column is for kind fixed_split, found kind {self.kind}")
        return self


class Task(Strict):
    """One task; its name is a Snakemake target."""

    datasets: list[Name] = Field(min_length=1, description="Data sets of the task.")
    kind: Literal["classification", "regression"] = Field(
        "classification", description="Whether `label` contains classes or numbers."
    )
    label: str = Field(description="Phenotype column of the diagnosis, or of the number.")
    classes: dict[str, list[str]] = Field(
        default_factory=dict,
        validate_default=True,
        description="Class name to values of the label column; the second of two classes is the "
        "positive one.",
    )
    transform: Literal["none", "zscore", "minmax", "max", "log1p", "log1p_max"] = Field(
        "none",
        description="Transformation of the target of a regression, with constants of the training "
        "fold: none,  (x - mean) / SD, scaled to 0-1, x / max, log(1 + x), or the last divided by "
        "its maximum. Predictions are transformed back; scores are in the target's own unit.",
    )
    confounds: Literal["none", "regress", "combat", "match"] = Field(
        "none",
        description="Adjustment for confounds, fitted to the training scans of each fold. "
        "`regress`: they are regressed out of every feature. `combat`: site effects are removed "
        "by ComBat; a site with too few training scans is not adjusted, which is logged and "
        "counted. `match`: training participants are dropped until the classes are equally large "
        "at each site and sex.",
    )
    confound_columns: list[ConfoundName] = Field(
        ["site", "sex", "age", "mean_fd"],
        min_length=1,
        description="Confounds that `regress` removes.",
    )
    exclude: str | None = Field(
        None,
        description="Scans that match this query over the scans table are excluded: comparisons "
        "of columns in the syntax of pandas, such as `age > 60 or pheno_dx == '3'`. Phenotypes "
        "are text: `pheno_FIQ.astype('float') < 70`.",
    )
    protocol: Protocol = Protocol()
    zero_shot_from: Name | list[Name] | None = Field(
        None,
        description="A task, or a list of data sets with the same label column: classifiers "
        "trained there are applied to this task's data sets without using their labels.",
    )

    @field_validator("exclude")
    @classmethod
    def _is_query(cls, query: str | None) -> str | None:
        if query:
            parse_query(query)
        return query

    @field_validator("classes", mode="before")
    @classmethod
    def _as_text(cls, classes: Any) -> Any:
        if not isinstance(classes, dict):
            return classes
        # YAML reads unquoted yes, no, on, off as true or false, so the column's text would be lost
        values = [v for vs in classes.values() for v in (vs if isinstance(vs, list) else [vs])]
        if any(isinstance(v, bool) for v in [*classes, *values]):
            raise ValueError("put yes, no, on, off, true, false in quotes to keep them as text")
        for value in [*classes, *values]:
            unclear = value is None or isinstance(value, list | dict)
            if unclear or value != value:  # NaN
                raise ValueError(
                    f"found {value!r}, expected values of the column: text or numbers; put null "
                    "in quotes if it is a value"
                )
        return {
            str(k): [str(x) for x in (v if isinstance(v, list) else [v])]
            for k, v in classes.items()
        }

    @field_validator("classes")
    @classmethod
    def _enough(cls, classes: dict, info: ValidationInfo) -> dict:
        if info.data.get("kind") == "classification" and len(classes) < 2:
            raise ValueError(
                f"{len(classes)} classes, expected two or more (or set kind: regression)"
            )
        return classes

    @model_validator(mode="after")
    def _fits_kind(self) -> Task:
        if self.kind == "classification" and self.transform != "none":
            raise ValueError(f"transform {self.transform} is for kind: regression")
        if self.kind == "regression" and self.classes:
            raise ValueError("a regression has no classes; remove them or set kind: classification")
        if self.kind == "regression" and self.confounds == "match":
            raise ValueError("confounds: match balances classes; use regress or combat")
        if stray := sorted(set(self.protocol.train_datasets) - set(self.datasets)):
            raise ValueError(f"protocol.train_datasets {stray} are not among datasets")
        if set(self.protocol.train_datasets) == set(self.datasets):
            raise ValueError(
                "protocol.train_datasets are all datasets, so no participants remain for testing"
            )
        return self


class Finetune(Strict):
    """Methods that are evaluated on the tasks, including baselines."""

    methods: list[MethodName] = Field(
        ["chance", "confounds_svm", "fc_svm", "tangent_ridge", "untrained_svm", "brainmass_svm"],
        min_length=1,
        description="Methods to score, all on the same folds: `<features>_<estimator>`. Methods "
        "that do not apply to a task (`*_logistic` to a regression) are skipped. If "
        "`pretrain.model` is a BrainLM, the default has `series_svm`, `untrained_brainlm_svm` and "
        "`brainlm_svm` instead of `untrained_svm` and `brainmass_svm`; methods of one model "
        "cannot be used with the other.",
    )
    n_bootstrap: int = Field(2000, ge=100, description="Bootstrap draws over participants.")
    n_permutations: int = Field(
        1000,
        ge=0,
        description="Shuffles of the tested participants' labels for the p-value; no model is "
        "fitted again.",
    )
    n_permutations_refit: int = Field(
        0,
        ge=0,
        description="Shuffles of all labels within sites for a second p-value. Every fold is "
        "fitted again for each, so this multiplies the cost of the method.",
    )
    permutation_methods: list[MethodName] = Field(
        ["confounds_svm", "fc_svm", "untrained_svm", "brainmass_svm"],
        description="Methods for `n_permutations_refit`; by default those whose fit takes a "
        "fraction of a second, or those of a BrainLM.",
    )
    inner_splits: int = Field(
        3,
        ge=2,
        description="Folds within the training set to choose a hyper-parameter; at most the "
        "number of participants in the smallest class.",
    )
    permute_labels: bool = Field(
        False, description="Shuffle labels between participants: every score must fall to chance."
    )
    deploy: MethodName | Literal["auto"] | None = Field(
        "auto",
        description="Method that is fitted to all labelled scans of each task and stored for "
        "`brainmass predict`; one of `methods`. `auto`: the first of them on the pre-trained "
        "model whose stored form contains no training scan, otherwise the first such method on FC "
        "or series, regardless of scores: selecting the best by its score would bias the score. "
        "Radial SVMs (`brainmass_svm`, `brainlm_svm`, `untrained_*svm`, `series_svm`) and `*_knn` "
        "store features of training scans, and are stored only if named here. Empty: none. No "
        "model is stored if `permute_labels` is set or the method does not apply to the task.",
    )

    @model_validator(mode="after")
    def _can_be_deployed(self) -> Finetune:
        if self.deploy in (None, "auto"):
            return self
        if not METHODS[self.deploy].deployable:
            raise ValueError(
                f"deploy: {self.deploy} cannot be stored as a model, because it does not use the "
                "scan; choose one of "
                f"{', '.join(name for name, m in METHODS.items() if m.deployable)}"
            )
        if self.deploy not in self.methods:
            raise ValueError(
                f"deploy: {self.deploy} is not among methods {list(self.methods)}: it would have "
                "no scores; add it there"
            )
        return self

    def deployed(self, kind: str) -> str | None:
        """The method whose model is stored for tasks of a kind; None if there is none."""
        if self.permute_labels or self.deploy is None:
            return None
        known = [METHODS[name] for name in self.methods]
        able = [m for m in known if m.deployable and kind in m.kinds]
        if self.deploy != "auto":
            return self.deploy if self.deploy in [m.name for m in able] else None
        able = [m for m in able if not m.stores_scans]
        # a pre-trained encoder before none, none before one with its initial weights
        best = min(able, key=lambda m: (not m.pretrained, m.encoder is not None), default=None)
        return best.name if best else None
