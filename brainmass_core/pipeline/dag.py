"""What the Snakefile asks: which files a stage reads and writes, and what its jobs need.

Which jobs there are follows from the configuration alone. Whether they must run again also follows
from what lies in the data sets: each is walked once, by the process that the user started, when a
job that reads it is planned. See `fingerprints`.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from brainmass_core.config import Config, ConfigError, dump_config, parse_config
from brainmass_core.config.load import deep_merge, read_yaml
from brainmass_core.pipeline.fingerprints import (
    Inputs,
    digest,
    inputs_of,
    phenotypes,
    states,
    table_state,
    with_phenotypes,
)
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pipeline.paths import MAPS, MODEL_FILES, Paths
from brainmass_core.pipeline.stages import STAGES, stages_of
from brainmass_core.preprocess.engines import SKIP_CHECK, missing
from brainmass_core.tables import TableError, config_hash_of

SHOWN = tuple(s for s in stages_of("batch") if STAGES[s].selects)  # what pages are made from


class Study:
    """One configuration seen as a DAG.

    Parameters
    ----------
    config : Config
        The validated configuration.
    planning : bool
        Whether this process plans the jobs. One that Snakemake started to run a job does not:
        it looks at no data set, and what is recorded of a job is what the planning process saw.
    """

    def __init__(self, config: Config, planning: bool = True) -> None:
        self.config = config
        self.planning = planning
        self.paths = Paths(config.results)
        self.file = config.results / "config.yaml"
        self._lock: FileLock | None = None
        self._walked: dict[str, Inputs] = {}
        self._by_batch: dict[tuple[str, str], list[str]] = {}

    @classmethod
    def load(cls, given: Mapping[str, Any], files: list[Path], planning: bool = True) -> Study:
        """Read the configuration as Snakemake passes it.

        Parameters
        ----------
        given : dict
            Snakemake's ``config``: the files of ``--configfile`` with ``--config`` over them.
        files : list of Path
            The files of ``--configfile``; without any, ``config.yaml`` is read.
        planning : bool
            See the class.

        Raises
        ------
        ConfigError
            Listing every error at once.
        """
        # many jobs share one terminal: their progress goes to the logs, `brainmass status` shows it
        os.environ["BRAINMASS_PLAIN_PROGRESS"] = "1"
        raw: dict = dict(given)
        source = ", ".join(map(str, files)) or "config.yaml"
        for file in files:  # Snakemake has read them, and of a repeated key kept the last
            read_yaml(Path(file))
        if not files:
            path = Path("config.yaml")
            if not path.exists():
                raise ConfigError(
                    f"there is no config.yaml in {Path.cwd()}; "
                    "run from the project's folder, or give one with --configfile"
                )
            raw = deep_merge(read_yaml(path), raw)
        return cls(parse_config(raw, source), planning)

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
        """The same, none if the configuration asks for none; no page waits for them."""
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

    # --- what a change of the data concerns ------------------------------------------------------

    def inputs(self, stage: str, dataset: str, batch: str | int = 0) -> str:
        """Fingerprint, for ``params``, of what a job reads that is no output of another job."""
        if not self.planning:
            return ""
        if stage == "scans":
            table = table_state(self.config.datasets[dataset])
            return digest([self._inputs(dataset).all(), table])
        return digest([self._rows(stage, dataset)[int(batch)], states(self._files(stage))])

    def settled(self, stage: str, dataset: str, batch: str | int = 0) -> bool:
        """Whether the scans table that is there holds the rows that a job needs.

        Then the job does not wait for a new table, or one edited cell of a phenotype table would
        repeat every batch. What a job reads of the table is in its fingerprint.
        """
        if not self.paths.scans(dataset).exists():
            return False
        if not self.planning:
            return True
        try:
            listed = json.loads(self.paths.listed_from(dataset).read_text(encoding="utf-8"))
            return listed[stage][int(batch)] == self._rows(stage, dataset)[int(batch)]
        except (OSError, ValueError, LookupError, TypeError):
            return False

    def listed_from(self, dataset: str) -> str:
        """What `settled` compares, as JSON; taken before the scans are listed."""
        stages = [s for s in stages_of("batch") if dataset in self.datasets(s)]
        return json.dumps({s: self._rows(s, dataset) for s in stages if s != "connectivity"})

    def _rows(self, stage: str, dataset: str) -> list[str]:
        """Fingerprint, by batch, of what decides what a stage reads of the scans table."""
        if (stage, dataset) not in self._by_batch:
            n = self.config.datasets[dataset].batches
            if stage == "pfc":
                found = [self._split(dataset)] * n
            else:
                rows = self._phenotypes(dataset, stage)
                found = with_phenotypes(self._inputs(dataset), rows).batches(dataset, n)
            # who has pFC follows from the split, a page shows the site
            part = {"pfc": "listing", "quality": "quality"}.get(stage, "images")
            own = [self.hash(part, dataset), str(n)]
            self._by_batch[stage, dataset] = [digest([*own, text]) for text in found]
        return self._by_batch[stage, dataset]

    def pretrain_state(self) -> str:
        """Fingerprint of who may be pre-trained on; what they are, is in the tables."""
        return digest(self.inputs("pfc", name) for name in self.datasets("pretrain"))

    def compared_state(self) -> str:
        """Fingerprint of the other results folders that the front page compares."""
        return states(map(Path, self.compared_results()))

    def _inputs(self, dataset: str) -> Inputs:
        if dataset not in self._walked:
            self._walked[dataset] = inputs_of(dataset, self.config.datasets[dataset])
        return self._walked[dataset]

    def _files(self, stage: str) -> list[Path | None]:
        """Single files that a stage reads of the configuration's own."""
        if stage == "preprocess":
            template = self.config.preprocess.template
            given = template if isinstance(template, Path) else None
            return [given, self.config.preprocess.template_mask]
        if stage == "timeseries":
            return [self.config.atlas.path, self.config.atlas.labels]
        return []

    def _phenotypes(self, dataset: str, stage: str) -> dict[str, str]:
        """What the jobs of batches read of the phenotype table, by participant."""
        settings = self.config.datasets[dataset].phenotype
        columns = [settings.mean_fd_column, settings.site_column] if stage == "quality" else []
        if self.config.datasets[dataset].kind == "timeseries":
            columns += [settings.scan_column, settings.t_r_column, settings.mean_fd_column]
        return phenotypes(dataset, self.config.datasets[dataset], columns)

    def _split(self, dataset: str) -> str:
        """Fingerprint of all that decides who is kept for evaluation."""
        section = self.config.datasets[dataset]
        if section.role != "internal":
            return ""
        settings, inputs = section.phenotype, self._inputs(dataset)
        columns = [settings.scan_column, settings.site_column, section.stratify_by]
        rows = phenotypes(dataset, section, columns)
        shared = inputs.shared if inputs.several else ""
        return digest([shared, *sorted(inputs.scanned), *(f"{w} {rows[w]}" for w in sorted(rows))])

    # --- what each job needs ---------------------------------------------------------------------

    def hash(self, stage: str, name: str | None = None) -> str:
        """Configuration hash for ``params``: a changed knob re-runs what depends on it."""
        return stage_hash(self.config, stage, name)

    def cpus(self, stage: str) -> int:
        """Cores of a job."""
        return self.config.stage_resources(stage).cpus_per_task

    def mem_mb(self, stage: str) -> Callable[..., int]:
        """Memory of a job in MB, doubled at each retry."""
        base = self.config.stage_resources(stage).mem_mb
        return lambda wildcards, attempt: base * 2 ** (attempt - 1)

    def runtime(self, stage: str) -> int:
        """Time limit of a job in minutes."""
        return self.config.stage_resources(stage).runtime

    def launch(self) -> dict[str, Any]:
        """Resources of the pre-training launch: machines and GPUs where there are any."""
        wanted: dict[str, Any] = {}
        gpus = self.config.stage_resources("pretrain").gpus
        nodes = self.config.pretrain.nodes
        if gpus:
            wanted["gres"] = f"gpu:{gpus}"
        if nodes > 1:
            wanted |= {"mpi": "srun", "nodes": nodes, "tasks": nodes}
        return wanted

    # --- start and end of a run ------------------------------------------------------------------

    def start(self) -> None:
        """Check programs and results folder, keep a second Snakemake out, publish the config.

        Raises
        ------
        ConfigError
            If a program that the configuration asks for is missing, the results folder cannot be
            written, or another Snakemake is at work on it.
        """
        self._require_engines()
        results = self.config.results
        try:
            results.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=results) as file:
                file.write(b"\0" * 4096)
                file.flush()
        except OSError as error:
            raise ConfigError(
                f"results: cannot write to {results.absolute()} ({error.strerror or error}); "
                "mend its permissions, free space, or choose another folder in the configuration"
            ) from None
        self._lock = FileLock(results / ".lock")  # dies with this process, even when killed
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ConfigError(
                f"another snakemake is at work on {results.absolute()}; "
                "wait for it, stop it, or choose another results folder"
            ) from None
        text = dump_config(self.config)
        if not self.file.exists() or self.file.read_text() != text:
            temporary = self.file.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_text(text)
            temporary.replace(self.file)

    def _require_engines(self) -> None:
        """Refuse before any job runs what each job of `preprocess` would refuse."""
        if not self.datasets("preprocess") or os.environ.get(SKIP_CHECK) == "1":
            return
        if lines := missing(self.config.preprocess.engines):
            raise ConfigError(
                "\n".join(lines)
                + f"\nIf only the machines that run the jobs have it, set {SKIP_CHECK}=1: "
                "each job looks for itself"
            )

    def finish(self) -> None:
        """Remove the kept scans of batches that are published; those of `preprocess` stay.

        They are what makes a later run of a grown data set cheap.
        """
        for stage in (s for s in stages_of("batch") if not STAGES[s].keeps_work):
            for name in self.datasets(stage):
                for batch in range(self.config.datasets[name].batches):
                    table = self.paths.batch(stage, name, batch)
                    if table.exists() and _made_by(table) == self.hash(stage, name):
                        shutil.rmtree(self.paths.work(stage, name, batch), ignore_errors=True)


def _made_by(table: Path) -> str | None:
    """The hash of the configuration that made a table; None if it is damaged."""
    try:
        return config_hash_of(table)
    except TableError:
        return None
