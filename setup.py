"""Build step that puts the workflow into the package; everything else is in pyproject.toml.

A wheel contains copies of the folders `SHIPPED` in ``brainmass_core/_workflow``, where
`brainmass_core.workflow_files` finds them. An editable installation copies nothing: there it finds
the folders of the repository.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
SHIPPED = ("workflow", "rules", "slurm", "envs", "config.yaml")


class BuildWithWorkflow(build_py):
    """Copy the files of the workflow next to the modules."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        for target, source in self._workflow_files():
            self.mkpath(str(Path(target).parent))
            self.copy_file(source, target)

    def get_outputs(self, include_bytecode=True):
        return super().get_outputs(include_bytecode) + [t for t, _ in self._workflow_files()]

    def _workflow_files(self):
        below = Path(self.build_lib) / "brainmass_core" / "_workflow"
        for name in SHIPPED:
            source = ROOT / name
            files = sorted(source.rglob("*")) if source.is_dir() else [source]
            for file in files:
                if file.is_file() and not {".snakemake", "__pycache__"} & {*file.parts}:
                    yield str(below / file.relative_to(ROOT)), str(file)


setup(cmdclass={"build_py": BuildWithWorkflow})
