"""Whether git-annex (DataLad) or git-lfs can fetch the content of a file in its folder."""

from __future__ import annotations

import os
import re
from pathlib import Path

IN_ANNEX = re.compile(r"(^|/)\.git/(.*/)?annex(/|$)")  # with the content of git-annex
BRANCHES = ("refs/heads/git-annex", "refs/remotes/origin/git-annex", "annex")


def points_into_annex(path: Path) -> bool:
    """Whether a link leads to where git-annex keeps content."""
    return bool(IN_ANNEX.search(os.readlink(path)) or IN_ANNEX.search(os.path.realpath(path)))


def remedy_of_annex(path: Path) -> str:
    """Remedy for missing content of git-annex."""
    if any(_is_annex(folder) for folder in _above(path)):
        return "fetch its content: `datalad get`"
    return (
        "its content is in an annex, but no folder above it is a DataLad or git-annex data set: "
        "copy the file itself from there (cp -L)"
    )


def remedy_of_lfs(path: Path) -> str:
    """Remedy for missing content of git-lfs."""
    if any((folder / ".git").exists() for folder in _above(path)):
        return "fetch its content: `git lfs pull`"
    return (
        "its content is in git-lfs, but no folder above it is a git repository: copy the file "
        "itself from there"
    )


def _above(path: Path) -> list[Path]:
    """Folders that contain a file, by its path and by the targets of links in it."""
    here = path.absolute()
    return [*here.parents, *(here.parent.resolve() / here.name).parents]


def _is_annex(folder: Path) -> bool:
    """Whether a folder is the root of a DataLad or git-annex data set, of a clone as well."""
    git = folder / ".git"
    if (folder / ".datalad").is_dir():
        return True
    try:
        if git.is_file():  # of a data set inside another
            named = git.read_text(encoding="utf-8", errors="replace").partition("gitdir:")[2]
            git = folder / named.strip()
        if any((git / branch).exists() for branch in BRANCHES):
            return True
        return "/git-annex\n" in (git / "packed-refs").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
