"""What a change of the data concerns: which jobs read what has changed in the data sets.

Each data set is walked once, by the process that the user started, when a job that reads it is
planned. See `fingerprints`.
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path

from brainmass_core.config import Config, Dataset
from brainmass_core.config.bridged import data_transforms, template_inputs
from brainmass_core.config.study_size import choices, is_settled, settle, settle_as
from brainmass_core.config.yaml_file import read_yaml
from brainmass_core.pipeline.files import Files
from brainmass_core.pipeline.fingerprints import Inputs, digest, inputs_of, states
from brainmass_core.pipeline.phenotype_fingerprints import (
    phenotypes,
    table_state,
    with_phenotypes,
)
from brainmass_core.pipeline.stages import stages_of


def settled_as_planned(config: Config) -> Config:
    """The configuration with the automatic settings of the last run in its results folder."""
    file = config.results / "config.yaml"
    found = read_yaml(file) if file.exists() else None
    return settle_as(config, found) if isinstance(found, dict) else config


class DataChanges(Files):
    """Fingerprints of what jobs read that is no output of another job.

    Parameters
    ----------
    config : Config
        The validated configuration.
    planning : bool
        Whether this process plans the jobs. One that Snakemake started to run a job does not:
        it looks at no data set, and what is recorded of a job is what the planning process saw.
    """

    def __init__(self, config: Config, planning: bool = True) -> None:
        super().__init__(config)
        self.planning = planning
        self._walked: dict[str, Inputs] = {}
        self._by_batch: dict[tuple[str, str], list[str]] = {}

    def settle(self) -> list[str]:
        """Choose the settings whose default depends on the number of scans, see `study_size`.

        Returns
        -------
        list of str
            A line for each default of a large study; empty in a process that runs a job.
        """
        if is_settled(self.config):
            return []
        if not self.planning:
            self.config = settled_as_planned(self.config)
            return []
        n_scans = {name: self.n_scans(name) for name in self.config.datasets}
        told = choices(self.config, sum(n_scans.values()))
        self.config = settle(self.config, n_scans)
        return told

    def n_scans(self, dataset: str) -> int:
        """Scans of a data set, counted by names of files without opening images."""
        section = self.config.datasets[dataset]
        if section.synthetic:  # it may not be written yet
            return section.synthetic.n_participants
        return self._inputs(dataset).n_scans + _n_arrays(section)

    def inputs(self, stage: str, dataset: str, batch: str | int = 0) -> str:
        """Fingerprint, for ``params``, of what a job reads that is no output of another job."""
        if not self.planning:
            return ""
        if stage == "scans":
            table = table_state(self.config.datasets[dataset])
            found = [self._inputs(dataset).all(), table, *self._transforms(dataset)]
            return digest(found)
        files = states(self._files(stage, dataset))
        return digest([self._rows(stage, dataset)[int(batch)], files])

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
            part = {"pfc": "split", "quality": "quality"}.get(stage, "images")
            own = [self.hash(part, dataset), str(n), *self._transforms(dataset)]
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

    def _files(self, stage: str, dataset: str) -> list[Path | None]:
        """Single files that a stage reads of the configuration's own, and of TemplateFlow's."""
        if stage == "preprocess":
            settings = self.config.preprocess
            given = settings.template if isinstance(settings.template, Path) else None
            return [given, settings.template_mask, *template_inputs(settings)]
        if stage == "timeseries":
            crossed = data_transforms(self.config, dataset)
            return [self.config.atlas.path, self.config.atlas.labels, *crossed]
        return []

    def _transforms(self, dataset: str) -> list[str]:
        """State of TemplateFlow's transforms that decide which derivatives can be read."""
        if self.config.datasets[dataset].kind != "derivatives":
            return []
        files = data_transforms(self.config, dataset)
        return [states(files)] if files else []

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


def _n_arrays(dataset: Dataset) -> int:
    """Scans in the ``.npz`` files of a data set of ready series, from their directories."""
    if dataset.kind != "timeseries":
        return 0
    # imported late, because they load pandas
    from brainmass_core.readers.series import SeriesError, array_keys
    from brainmass_core.scans.timeseries import matching_files

    found = 0
    for path in matching_files(dataset):
        if path.suffix == ".npz":
            try:
                keys = array_keys(path)
            except SeriesError:
                keys = [""]  # an excluded scan
            chosen = dataset.array
            found += len([k for k in keys if fnmatchcase(k, chosen)] if chosen else keys)
    return found
