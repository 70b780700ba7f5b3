"""Model folders by name: a local folder, or a repository of the Hugging Face Hub or of its cache.

`huggingface_hub` (extra ``hub``) is imported only for a name that is no local folder. It reads
``HF_HUB_OFFLINE``, ``HF_HOME`` and ``HF_TOKEN`` from the environment.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from brainmass_core.models.weights import ModelError

CARD = "README.md"
# what a model folder may contain; nothing else of a repository is fetched or published
FILES = ("*.json", "*.safetensors", "history.parquet", CARD, "loss.png")
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
INSTALL = "pip install 'brainmass-core[hub]'"
UNSTATED = ("unknown", "", None)  # licences with which nothing is published


def model_folder(name: str | Path, revision: str | None = None) -> Path:
    """Folder of a model that is given by its folder or by its name on the Hugging Face Hub.

    Parameters
    ----------
    name : str or path
        A folder, or ``organisation/name``. An existing folder takes precedence.
    revision : str, optional
        Branch, tag or commit of the repository. Only the hash of a commit always names the same
        files.

    Returns
    -------
    Path
        The folder itself, or the snapshot of the repository in the cache of `huggingface_hub`. Its
        files are not checked here, but when they are read.

    Raises
    ------
    ModelError
        If a folder is given with a revision; if the name is none of a repository; if
        `huggingface_hub` is not installed; or if the repository is neither cached nor reachable.
    """
    folder = Path(name)
    if folder.exists() or not REPOSITORY.fullmatch(str(name)):
        if revision is not None:
            raise ModelError(
                f"{name}: found revision {revision!r} for a folder; revisions are of repositories "
                "(organisation/name): leave it out"
            )
        return folder
    hub = _hub(str(name))
    try:
        found = hub.snapshot_download(str(name), revision=revision, allow_patterns=list(FILES))
    except Exception as error:  # of several libraries: HTTP, cache, validation
        raise ModelError(_unreachable(hub, str(name), revision, error)) from error
    return Path(found)


def _hub(name: str) -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ImportError:
        raise ModelError(
            f"{name}: no such folder (looked from {Path.cwd()}); if it is the name of a model on "
            f"the Hugging Face Hub, huggingface_hub is needed: {INSTALL}"
        ) from None
    return huggingface_hub


def _unreachable(hub: Any, name: str, revision: str | None, error: Exception) -> str:
    """Why a repository cannot be had, and what to do."""
    at = f"{name} (revision {revision})" if revision else name
    cache, errors = hub.constants.HF_HUB_CACHE, hub.errors
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        why = "HF_HUB_OFFLINE is set" if hub.constants.HF_HUB_OFFLINE else "the Hub is unreachable"
        return (
            f"{at}: no such folder (looked from {Path.cwd()}), not in the cache {cache}, and {why};"
            f" run `hf download {name}` on a machine with internet access, and copy its cache here "
            "(HF_HOME names the folder) or give the copied folder"
        )
    if isinstance(error, errors.RepositoryNotFoundError | errors.RevisionNotFoundError):
        return (
            f"{at}: neither a folder (looked from {Path.cwd()}) nor on the Hugging Face Hub; "
            "correct name and revision, or run `hf auth login` if the repository is private"
        )
    said = (str(error).strip().splitlines() or [""])[0]
    return f"{at}: cannot be fetched from the Hugging Face Hub ({type(error).__name__}: {said})"


def publish_folder(folder: Path, repo_id: str, **options: Any) -> str:
    """Upload a model folder to a repository of the Hugging Face Hub, which is created if needed.

    Parameters
    ----------
    repo_id : str
        ``organisation/name``.
    options : dict
        ``private``, ``token``, ``branch``, ``create_pr`` and ``commit_message`` of
        `huggingface_hub`.

    Returns
    -------
    str
        Address of the commit.

    Raises
    ------
    ModelError
        If `huggingface_hub` is not installed, or the card is missing or states no licence.
    """
    hub = _hub(repo_id)
    card = folder / CARD
    if not card.is_file() or front_matter_of(card.read_text("utf-8")).get("license") in UNSTATED:
        raise ModelError(
            f"{card}: states no licence, so that nobody else might use the model; write the one "
            "that the terms of its training data allow into the front matter, such as `license: "
            "cc-by-nc-4.0`, and publish it again"
        )
    api = hub.HfApi(token=options.get("token"))
    made = api.create_repo(repo_id, private=options.get("private"), exist_ok=True)
    done = api.upload_folder(
        repo_id=made.repo_id,
        folder_path=str(folder),
        allow_patterns=list(FILES),
        revision=options.get("branch"),
        create_pr=options.get("create_pr", False),
        commit_message=options.get("commit_message") or "Upload a brainmass model",
    )
    return str(done.commit_url)


def front_matter(about: dict[str, Any]) -> str:
    """The YAML between two lines of dashes at the head of a model card."""
    kept = {k: v for k, v in about.items() if v not in (None, [], {})}
    text = yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, width=88)
    return f"---\n{text}---\n\n"


def front_matter_of(card: str) -> dict[str, Any]:
    """What the front matter of a card states; empty if there is none or it is damaged."""
    parts = card.split("---\n", 2)
    if not card.startswith("---\n") or len(parts) < 3:
        return {}
    try:
        found = yaml.safe_load(parts[1])
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def pretrained_card(model: str, datasets: list[str], *tags: str) -> dict[str, Any]:
    """Front matter of a pre-trained encoder.

    Parameters
    ----------
    model : str
        Name of the model, one of its tags, which `tags` are added to.
    datasets : list of str
        Names of the data sets of its participants, as in the configuration; they need not be those
        of repositories.
    """
    return {
        "license": "unknown",  # follows from the terms of the data, which people must read
        "library_name": "brainmass",
        "pipeline_tag": "feature-extraction",
        "tags": ["brainmass", model, "fmri", "neuroscience", *tags],
        "metrics": ["loss"],
        "datasets": sorted(datasets),
    }
