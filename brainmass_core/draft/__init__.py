"""A first configuration, written from what is found in folders: `brainmass init`.

`folders` looks at images and series, `columns` at phenotype tables, `text` writes YAML in which
every guess is marked, and every question is a comment.
"""

from brainmass_core.draft.text import MARK, draft

__all__ = ["MARK", "draft"]
