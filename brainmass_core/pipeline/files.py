"""Files that the jobs of each stage read and write; they follow from the configuration alone."""

from __future__ import annotations

from brainmass_core.config import Config
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pipeline.paths import MAPS, MODEL_FILES, Paths
from brainmass_core.pipeline.stages import STAGES, stages_of

SHOWN = tuple(s for s in stages_of("batch") if STAGES[s].selects)  # what pages are made from


class Files:
    """Which data sets go through which stage, and where its jobs read and write.

    Parameters
    ----------
    config : Config
        The validated configuration.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.paths = Paths(config.results)
        self.file = config.results / "config.yaml"

    @property
    def joins(self) -> bool:
        """Whether runs are joined before FC, see `connectivity.unit`."""
        return self.config.connectivity.unit != "run"

    # --- which data sets and batches -------------------------------------------------------------

    def datasets(self, stage: str) -> list[str]:
        """Data sets that go through a stage."""
        takes = STAGES[stage].takes
        return [name for name, d in self.config.datasets.items() if takes(d)]

    def tables(self, stage: str, datasets: list[str] | None = None) -> list[str]:
        """Every batch table of a stage."""
        names = self.datasets(stage) if datasets is None else datasets
        return [
            str(self.paths.batch(stage, name, batch))
            for name in names
            for batch in range(self.config.datasets[name].batches)
        ]

    def table(self, stage: str) -> str:
        """Pattern of a stage's batch table."""
        return str(self.paths.batch(stage, "{dataset}", "{batch}"))

    def manifest(self, stage: str) -> str:
        """Pattern of a stage's batch manifest."""
        return str(self.paths.manifest(stage, "{dataset}", "{batch}"))

    def log(self, stage: str, *parts: str) -> str:
        """Log of a job."""
        return str(self.paths.log(stage, *parts))

    def retried(self, stage: str, dataset: str, batch: str | int) -> list[str]:
        """File that `brainmass retry` writes for a batch: if new, Snakemake runs the batch again.

        A missing table alone would not be made again if all results that depend on it are there.
        """
        file = self.paths.retried(stage, dataset, batch)
        return [str(file)] if file.exists() else []

    # --- what each stage reads -------------------------------------------------------------------

    def demo_folders(self) -> list[str]:
        """Folders of the synthetic data sets."""
        return [str(d.path) for d in self.config.datasets.values() if d.synthetic]

    def demo_dataset(self, folder: str) -> str:
        """Name of the synthetic data set in a folder."""
        return next(n for n, d in self.config.datasets.items() if str(d.path) == folder)

    def scans_inputs(self, dataset: str) -> list[str]:
        """The synthetic data, if any, and the phenotype table."""
        d = self.config.datasets[dataset]
        made = [str(d.path / "dataset_description.json")] if d.synthetic else []
        return made + ([str(d.phenotype.path)] if d.phenotype.path else [])

    def scans_tables(self, datasets: list[str] | None = None) -> list[str]:
        """Scans tables, of all data sets by default."""
        names = self.datasets("scans") if datasets is None else datasets
        return [str(self.paths.scans(name)) for name in names]

    def timeseries_inputs(self, dataset: str, batch: str) -> list[str]:
        """Beside the scans table: for raw BIDS what `preprocess` estimated."""
        if self.config.datasets[dataset].kind != "bids":
            return []
        return [str(self.paths.batch("preprocess", dataset, batch))]

    def quality_inputs(self, dataset: str, batch: str) -> list[str]:
        """Beside the scans table: all that was found out about a batch, and why some were lost."""
        needed = []
        for stage in SHOWN:
            if dataset in self.datasets(stage):
                needed.append(str(self.paths.batch(stage, dataset, batch)))
                needed.append(str(self.paths.manifest(stage, dataset, batch)))
        return needed

    def cohort_inputs(self, dataset: str) -> list[str]:
        """Quality, FC and people of a data set."""
        stages = ("quality", "connectivity", "timeseries")
        tables = [t for stage in stages for t in self.tables(stage, [dataset])]
        return [str(self.paths.scans(dataset)), *tables]

    def quality_page(self, dataset: str, name: str = "index.html") -> str:
        """A file of a data set's cohort page: the page itself by default."""
        return str(self.paths.quality(dataset, name))

    def quality_pages(self) -> list[str]:
        """The cohort page of every data set."""
        return [self.quality_page(name) for name in self.datasets("quality")]

    def task_labels(self, dataset: str) -> list[str]:
        """Labels and classes by which a cohort page groups people: not part of any hash."""
        tasks = self.config.tasks.items()
        return [f"{n} {t.label} {t.classes}" for n, t in tasks if dataset in t.datasets]

    def tested_scans_tables(self) -> list[str]:
        """Scans tables of those whom pre-training must not see, beside those of its own."""
        own = self.datasets("pretrain")
        return self.scans_tables([n for n in self.config.tested_datasets() if n not in own])

    def pretrain_tables(self) -> list[str]:
        """What the model is trained on: pFC shards, or the time series of the same data sets."""
        return self.tables(self.config.pretrain.source, self.datasets("pretrain"))

    def model(self) -> str:
        """The pre-trained weights."""
        return str(self.paths.pretrain(self.config.pretrain.model) / "model.safetensors")

    def models(self) -> list[str]:
        """The same; none where all data sets are external and nothing is pre-trained."""
        return [self.model()] if self.config.pretrains else []

    def model_file(self, name: str) -> str:
        """Another file of the pre-trained model's folder."""
        return str(self.paths.pretrain(self.config.pretrain.model) / name)

    def task_inputs(self, task: str) -> list[str]:
        """FC and scans of the task's data sets, the model, and who it was trained on."""
        names = self.config.tasks[task].datasets
        scans = self.scans_tables(list(dict.fromkeys([*names, *self.datasets("pretrain")])))
        # copies are found by their series
        shown = self.tables("timeseries", self.datasets("pretrain"))
        sources = self._seen(names) + scans + shown
        return [*dict.fromkeys([*sources, *self.pretrain_tables()]), *self.models()]

    def _seen(self, datasets: list[str]) -> list[str]:
        """What a task reads of data sets: FC, and the series or what copies are known by."""
        return [*self.tables("connectivity", datasets), *self.tables("timeseries", datasets)]

    def task_results(self, task: str) -> list[str]:
        """Tables of a task."""
        folder = self.paths.finetune(task)
        return [str(folder / f"{name}.parquet") for name in STAGES["finetune"].outputs]

    def few_shot_results(self, task: str) -> list[str]:
        """Tables of a task's few-shot curves, whether asked for or not."""
        folder = self.paths.finetune(task)
        return [str(folder / f"{name}.parquet") for name in ("few_shot", "learning_curve")]

    def zero_shot_results(self, task: str) -> list[str]:
        """Tables of a task's zero-shot transfer, whether asked for or not."""
        folder = self.paths.finetune(task)
        return [str(folder / f"{n}.parquet") for n in ("zero_shot", "zero_shot_predictions")]

    def deployed_inputs(self, task: str) -> list[str]:
        """What the task itself reads, what was done to its scans, and its scores."""
        return [*self.task_inputs(task), *self.task_results(task)]

    def deployed_results(self, task: str) -> list[str]:
        """Files of a task's model for new scans, whether asked for or not."""
        return [str(self.paths.deployed(task, name)) for name in MODEL_FILES]

    def zero_shot_inputs(self, task: str) -> list[str]:
        """What the task and its source are made from, and who was pre-trained on."""
        source = self.config.tasks[task].zero_shot_from or []
        names = self.config.tasks[source].datasets if isinstance(source, str) else source
        needed = [*self._seen(names), *self.scans_tables([*names, *self.datasets("pretrain")])]
        return list(dict.fromkeys([*self.task_inputs(task), *needed]))

    def all_task_results(self, task: str) -> list[str]:
        """Tables of a task that the configuration asks for."""
        asked = self.task_results(task)
        classes = self.config.tasks[task].kind == "classification"
        if self.config.few_shot.shots and classes:
            asked += self.few_shot_results(task)
        if self.config.tasks[task].zero_shot_from:
            asked += self.zero_shot_results(task)
        return asked

    def deployed(self, task: str) -> list[str]:
        """Files of the stored model, empty if no model is stored; no page depends on them."""
        asked = self.config.finetune.deployed(self.config.tasks[task].kind)
        return self.deployed_results(task) if asked else []

    def interpret_inputs(self, task: str) -> list[str]:
        """What the task itself reads, and its predictions."""
        return [*self.task_inputs(task), *self.task_results(task)]

    def interpret_results(self, task: str) -> list[str]:
        """Tables of a task's regions and maps."""
        names = STAGES["interpret"].outputs
        return [str(self.paths.interpret(task, f"{name}.parquet")) for name in names]

    def interpret_figure(self, task: str, name: str) -> str:
        """A figure of a task's regions; `name` is one of `paths.MAPS`."""
        return str(self.paths.interpret(task, f"{name}.png"))

    def series_model_inputs(self) -> list[str]:
        """The model, the series of everybody, and who of them was pre-trained on."""
        model = [self.model(), self.model_file("config.json")]
        return [*self.tables("timeseries"), *self.scans_tables(), *model]

    def series_model_file(self, name: str) -> str:
        """A table or figure of an analysis, or a pattern of them."""
        return str(self.paths.series_model(name))

    def series_model_results(self) -> list[str]:
        """Tables and figures of all analyses that the configuration asks for."""
        asked = self.config.series_model.analyses
        return [self.series_model_file(f"{a}.{end}") for a in asked for end in ("parquet", "png")]

    def page(self, name: str) -> str:
        """A page of the report."""
        return str(self.paths.report(name))

    def compared_results(self) -> list[str]:
        """Configurations and scores of the other results folders that the front page compares."""
        return [
            str(file)
            for folder in self.config.report.compare
            for file in (
                folder / "config.yaml",
                *(Paths(folder).finetune(t) / "metrics.parquet" for t in self.config.tasks),
            )
        ]

    def report_inputs(self, page: str) -> list[str]:
        """Results that a page shows."""
        if page == "index":
            needed = [
                f for t in self.config.tasks for f in [*self.all_task_results(t), self.page(t)]
            ]
            needed += self.quality_pages()  # it links to them
            needed += self.compared_results()
            needed += self.series_model_results()
            datasets = self.datasets("scans")
        else:
            needed = [*self.all_task_results(page), *self.interpret_results(page)]
            needed += [self.interpret_figure(page, name) for name in MAPS]
            datasets = self.config.tasks[page].datasets
        for stage in SHOWN:
            here = [d for d in datasets if d in self.datasets(stage)]
            needed += self.tables(stage, here)
        return [*needed, *self.pretrain_tables(), *self.scans_tables(datasets), *self.models()]

    def hash(self, stage: str, name: str | None = None) -> str:
        """Configuration hash for ``params``: a changed knob re-runs what depends on it."""
        return stage_hash(self.config, stage, name)
