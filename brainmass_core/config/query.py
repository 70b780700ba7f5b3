"""Check the query of a task: only comparisons of columns are allowed, so it cannot run code.

pandas evaluates such a query with every attribute and method of a column, including those that
write files or reach Python's modules, so only the few that a query needs are allowed.
"""

from __future__ import annotations

import ast
import re

QUOTED = re.compile(r"`([^`]*)`")  # a name that is not a Python identifier
METHODS = (
    *("astype", "isin", "isna", "notna", "isnull", "notnull", "between", "fillna", "abs", "round"),
    *("str", "lower", "upper", "strip", "len", "contains", "startswith", "endswith", "fullmatch"),
    *("match", "eq", "ne", "lt", "le", "gt", "ge"),
)
ALLOWED = (
    *(ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.Invert, ast.USub),
    *(ast.UAdd, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.BitAnd, ast.BitOr, ast.Compare),
    *(ast.cmpop, ast.Name, ast.Load, ast.Constant, ast.List, ast.Tuple, ast.keyword),
)


def parse_query(query: str) -> tuple[ast.Expression, dict[str, str]]:
    """Parse a query and check its syntax tree.

    Returns
    -------
    tree : ast.Expression
    columns : dict of str
        Name in the tree to name of the column, for names in backticks.

    Raises
    ------
    ValueError
        If it is not an expression, or does anything except compare columns.
    """
    columns: dict[str, str] = {}

    def named(match: re.Match[str]) -> str:
        name = f"quoted_{len(columns)}"
        columns[name] = match[1]
        return name

    text = QUOTED.sub(named, query).strip()
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(
            f"{query!r} is not a query ({getattr(error, 'msg', None) or type(error).__name__}); "
            "expected a comparison of columns, such as age > 60 or pheno_dx == '3'"
        ) from None
    for node in ast.walk(tree):
        if strange := _strange(node):
            raise ValueError(
                f"{query!r} contains {strange}; expected comparisons of columns with and, or, "
                f"not, and of methods {', '.join(METHODS)}"
            )
    return tree, columns


def _strange(node: ast.AST) -> str | None:
    """Describe a node of the tree if it is not allowed."""
    if isinstance(node, ast.Attribute):
        return None if node.attr in METHODS else f".{node.attr}"
    if isinstance(node, ast.Call):
        return None if isinstance(node.func, ast.Attribute) else f"{ast.unparse(node.func)}()"
    if isinstance(node, ast.BinOp) and any(
        isinstance(side, ast.Constant) and isinstance(side.value, str)
        for side in (node.left, node.right)
    ):
        return f"{ast.unparse(node)[:80]}, arithmetic with text"
    return None if isinstance(node, ALLOWED) else ast.unparse(node)[:80] or type(node).__name__
