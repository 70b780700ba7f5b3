"""What the Snakefile asks: which files a stage reads and writes, and what its jobs need.

Which jobs there are follows from the configuration alone (`files`). Whether they must run again
follows from the settings (`hashing`) and from the files of the data sets (`data_changes`).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from brainmass_core.config import Config, ConfigError, dump_config, parse_config
from brainmass_core.config.load import deep_merge
from brainmass_core.config.yaml_file import read_yaml
from brainmass_core.pipeline.data_changes import DataChanges
from brainmass_core.pipeline.stages import STAGES, stages_of
from brainmass_core.preprocess.engines import SKIP_CHECK, missing


class Study(DataChanges):
    """One configuration seen as a DAG: files, fingerprints, resources, start of a run.

    Parameters
    ----------
    config : Config
        The validated configuration.
    planning : bool
        See `DataChanges`.
    """

    def __init__(self, config: Config, planning: bool = True) -> None:
        super().__init__(config, planning)
        self._lock: FileLock | None = None
        self.chosen: list[str] = []  # defaults of a large study, one line each

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
        study = cls(parse_config(raw, source), planning)
        study.chosen = study.settle()
        return study

    # --- what each job needs ---------------------------------------------------------------------

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

    # --- start of a run ------------------------------------------------------------------------

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
        self._remove_abandoned()
        text = dump_config(self.config)
        if not self.file.exists() or self.file.read_text() != text:
            temporary = self.file.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_text(text)
            temporary.replace(self.file)

    def _remove_abandoned(self) -> None:
        """Remove temporary files of killed jobs; jobs of batches remove those of their scans."""
        from brainmass_core.tables import remove_abandoned  # late: it imports pyarrow

        for stage in (s for s in STAGES if STAGES[s].unit != "batch"):
            remove_abandoned(self.config.results / stage)
        remove_abandoned(self.paths.work("pretrain", self.config.pretrain.model))
        for stage in stages_of("batch"):  # files of a data set are written before its batches
            for dataset in self.datasets(stage):
                remove_abandoned(self.paths.derivatives(dataset, stage), below=False)

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
