"""Sections of the configuration that say what is predicted, on whom, and with what."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from brainmass_core.config.base import Name, Strict
from brainmass_core.config.names import MethodName
from brainmass_core.config.query import parse_query
from brainmass_core.encoders.registry import METHODS

ConfoundName = Literal["site", "sex", "age", "mean_fd"]


class Protocol(Strict):
    """Who is trained on and who is tested. All scans of a participant are on one side."""

    kind: Literal["repeated_kfold", "leave_one_site_out", "fixed_split", "cross_cohort"] = Field(
        "repeated_kfold",
        description="`repeated_kfold`: stratified by label and site. `leave_one_site_out`: each "
        "site is tested by a model that saw none of it. `fixed_split`: one training set, test "
        "participants drawn again from the others in each repeat, as in the BrainMass paper. "
        "`cross_cohort`: trained on some data sets, tested on the others.",
    )
    n_splits: int = Field(5, ge=2, description="Folds (`repeated_kfold`).")
    n_repeats: int = Field(
        5,
        ge=1,
        description="Repetitions with other folds, or other test participants (`fixed_split`: the "
        "paper has 10).",
    )
    min_per_class: int = Field(
        5,
        ge=1,
        description="A site with fewer evaluation participants of some class is trained on but "
        "not tested (`leave_one_site_out`). Regression: of all participants.",
    )
    train_fraction: float = Field(
        0.7,
        gt=0,
        lt=1,
        description="Share of participants trained on, where no data set has a training split "
        "(`fixed_split` on `external` data).",
    )
    test_fraction: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of the participants not trained on that is drawn in each repeat "
        "(`fixed_split`; the paper draws 15 % of all, half of the remaining 30 %).",
    )
    split_column: str | None = Field(
        None, description="Phenotype column that says who is trained on (`fixed_split`)."
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

    datasets: list[Name] = Field(min_length=1, description="Data sets whose scans take part.")
    kind: Literal["classification", "regression"] = Field(
        "classification", description="Whether `label` holds classes or numbers."
    )
    label: str = Field(description="Phenotype column of the diagnosis, or of the number.")
    classes: dict[str, list[str]] = Field(
        default_factory=dict,
        validate_default=True,
        description="Class name to values of the label column; of two classes the second is the "
        "positive.",
    )
    transform: Literal["none", "zscore", "minmax", "max", "log1p", "log1p_max"] = Field(
        "none",
        description="What a regression is fitted to, with constants of the training fold: the "
        "target itself, (x - mean) / SD, scaled to 0-1, x / max, log(1 + x), or the last divided "
        "by its maximum. Predictions are transformed back; scores are in the target's own unit.",
    )
    confounds: Literal["none", "regress", "combat", "match"] = Field(
        "none",
        description="What is done about confounds, fitted on the training scans of each fold. "
        "`regress`: their linear part is taken out of every feature. `combat`: site effects by "
        "ComBat; a site without training scans is left as it is, which is logged and counted. "
        "`match`: training participants are dropped until the classes are equally "
        "large at each site and sex.",
    )
    confound_columns: list[ConfoundName] = Field(
        ["site", "sex", "age", "mean_fd"],
        min_length=1,
        description="What `regress` takes out.",
    )
    exclude: str | None = Field(
        None,
        description="Scans that fulfil this query over the scans table are excluded: comparisons "
        "of columns as pandas reads them, such as `age > 60 or pheno_dx == '3'`. Phenotypes are "
        "text: `pheno_FIQ.astype('float') < 70`.",
    )
    protocol: Protocol = Protocol()
    zero_shot_from: Name | list[Name] | None = Field(
        None,
        description="A task, or a list of data sets with the same label column: what is learned "
        "there is applied to this task's data sets without any of their labels.",
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
        # YAML reads a bare yes, no, on, off as true or false: the column's text would be lost
        values = [v for vs in classes.values() for v in (vs if isinstance(vs, list) else [vs])]
        if any(isinstance(v, bool) for v in [*classes, *values]):
            raise ValueError("put yes, no, on, off, true, false in quotes to keep them as text")
        for value in [*classes, *values]:
            unclear = value is None or isinstance(value, list | dict)
            if unclear or value != value:  # the latter is not a number
                raise ValueError(
                    f"found {value!r}, expected values of the column: text or numbers; put null in "
                    "quotes if it is one"
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
            raise ValueError("protocol.train_datasets are all datasets: nobody is left to test")
        return self


class Finetune(Strict):
    """Adaptation to the tasks and its baselines."""

    methods: list[MethodName] = Field(
        ["chance", "confounds_svm", "fc_svm", "tangent_ridge", "untrained_svm", "brainmass_svm"],
        min_length=1,
        description="What is scored, all on the same folds: `<features>_<estimator>`. What cannot "
        "do a task (`*_logistic` a regression) is left out there. Where `pretrain.model` is a "
        "BrainLM the default has `series_svm`, `untrained_brainlm_svm` and `brainlm_svm` in place "
        "of `untrained_svm` and `brainmass_svm`; neither model's methods go with the other model.",
    )
    n_bootstrap: int = Field(2000, ge=100, description="Bootstrap draws over participants.")
    n_permutations: int = Field(
        1000,
        ge=0,
        description="Shuffles of the tested participants' labels behind the p-value; nothing is "
        "fitted again.",
    )
    n_permutations_refit: int = Field(
        0,
        ge=0,
        description="Shuffles of all labels within sites for a second p-value, for each of which "
        "every fold is fitted again: as many times the cost of the method.",
    )
    permutation_methods: list[MethodName] = Field(
        ["confounds_svm", "fc_svm", "untrained_svm", "brainmass_svm"],
        description="Methods that `n_permutations_refit` is for; by default those whose fit takes "
        "fractions of a second, of a BrainLM its own.",
    )
    inner_splits: int = Field(
        3,
        ge=2,
        description="Folds within the training set that choose a hyper-parameter; as many as its "
        "smallest class has participants where these are fewer.",
    )
    permute_labels: bool = Field(
        False, description="Shuffle labels between participants: every score must fall to chance."
    )
    deploy: MethodName | Literal["auto"] | None = Field(
        "auto",
        description="Method that is fitted to all labelled scans of each task and stored for "
        "`brainmass predict`; one of `methods`. `auto`: the first of them on the pre-trained "
        "model whose stored model holds no training scan, else the first such on FC or series, "
        "whatever the scores: to take the best after looking would flatter it. Radial SVMs "
        "(`brainmass_svm`, `brainlm_svm`, `untrained_*svm`, `series_svm`) and `*_knn` store "
        "features of training scans, and are stored only if named here. Empty: none. None is "
        "stored where "
        "`permute_labels` is set or the method cannot do the task.",
    )

    @model_validator(mode="after")
    def _can_be_deployed(self) -> Finetune:
        if self.deploy in (None, "auto"):
            return self
        if not METHODS[self.deploy].deployable:
            raise ValueError(
                f"deploy: {self.deploy} cannot be stored as a model, it sees no scan; there are "
                f"{', '.join(name for name, m in METHODS.items() if m.deployable)}"
            )
        if self.deploy not in self.methods:
            raise ValueError(
                f"deploy: {self.deploy} is not among methods {list(self.methods)}: nothing would "
                "be known of how well it does; add it there"
            )
        return self

    def deployed(self, kind: str) -> str | None:
        """The method whose model is stored for tasks of a kind, None if there is none."""
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
