"""Where the files of the workflow are: Snakefile, rules, profiles, environments.

A checkout has them next to the package. A wheel brings a copy in the package itself (`setup.py`).
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parent
SNAKEFILE = Path("workflow") / "Snakefile"


def workflow_root() -> Path:
    """Folder with ``workflow/``, ``rules/``, ``slurm/``, ``envs/`` and the default configuration.

    Returns
    -------
    Path
        Absolute. The copy in the package if there is one, otherwise the repository.

    Raises
    ------
    FileNotFoundError
        If there is neither.
    """
    places = [PACKAGE / "_workflow", PACKAGE.parent]
    for folder in places:
        if (folder / SNAKEFILE).is_file():
            return folder.resolve()
    raise FileNotFoundError(
        f"{SNAKEFILE}: found neither in {places[0]} (an installed wheel) nor in {places[1]} (a "
        "checkout); install brainmass-core again"
    )


def profile_path(name: str) -> str:
    """The profile that a name means: `slurm` is the package's own, a folder its absolute path.

    Other names are Snakemake's: profiles in the user's or the system's configuration folder.
    """
    own = workflow_root() / name
    if Path(name).is_dir():
        return str(Path(name).absolute())
    return str(own) if name == "slurm" and own.is_dir() else name
