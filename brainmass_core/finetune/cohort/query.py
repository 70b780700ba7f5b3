"""Evaluate the query of a task."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import pairwise

import pandas as pd

from brainmass_core.config.query import parse_query

PHENO = "pheno_"
ORDER = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)


def caught_by(query: str, cohort: pd.DataFrame) -> pd.Series:
    """Whether each scan matches the query.

    Parameters
    ----------
    query : str
        See `config.query`.
    cohort : DataFrame (n_scans rows)

    Returns
    -------
    Series (n_scans,) of bool
        False for scans with a missing value.

    Raises
    ------
    ValueError
        If it compares text with a number, which is never true, or compares the order of texts, in
        which ``'100'`` is before ``'70'``.
    TypeError
        If its result is one value instead of one per scan.
    """
    tree, columns = parse_query(query)
    for left, operator, right in _comparisons(tree):
        _check(_kind(left, columns, cohort), operator, _kind(right, columns, cohort), left, right)
    caught = cohort.eval(query, engine="python")
    if not isinstance(caught, pd.Series):
        raise TypeError(f"gives {type(caught).__name__}, not one truth value per scan")
    return caught.fillna(False).astype(bool)


def _comparisons(tree: ast.AST) -> Iterator[tuple[ast.expr, ast.cmpop, ast.expr]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = pairwise([node.left, *node.comparators])
            yield from ((a, op, b) for (a, b), op in zip(sides, node.ops, strict=True))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in ("isin", "eq", "ne") and node.args:
                yield node.func.value, ast.In(), node.args[0]
            elif node.func.attr in ("lt", "le", "gt", "ge", "between"):
                yield from ((node.func.value, ast.Lt(), a) for a in node.args)


def _kind(node: ast.expr, columns: dict[str, str], cohort: pd.DataFrame) -> str | None:
    """Type of an expression, ``text`` or ``number``; None if unknown or mixed."""
    if isinstance(node, ast.Name):
        name = columns.get(node.id, node.id)
        if name not in cohort:
            return None
        if pd.api.types.is_numeric_dtype(cohort[name]):
            return "number"
        known = cohort[name].dropna()
        text = name.startswith(PHENO) or (len(known) > 0 and all(isinstance(v, str) for v in known))
        return "text" if text else None
    if isinstance(node, ast.UnaryOp):
        return _kind(node.operand, columns, cohort)
    if isinstance(node, ast.List | ast.Tuple):
        kinds = {_kind(part, columns, cohort) for part in node.elts}
        return kinds.pop() if len(kinds) == 1 else None
    if isinstance(node, ast.Constant) and not isinstance(node.value, bool):
        if isinstance(node.value, str):
            return "text"
        return "number" if isinstance(node.value, int | float) else None
    return None


def _check(left: str | None, operator: ast.cmpop, right: str | None, *sides: ast.expr) -> None:
    if {left, right} == {"text", "number"}:
        raise ValueError(f"compares text with a number: {_shown(sides)}")
    if left == right == "text" and isinstance(operator, ORDER):
        raise ValueError(f"compares the order of texts, '100' before '70': {_shown(sides)}")


def _shown(sides: tuple[ast.expr, ...]) -> str:
    return " and ".join(ast.unparse(side)[:60] for side in sides)
