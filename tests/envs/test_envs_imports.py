"""Each module can be imported first: there are no circular imports, not even through the
``__init__`` of a package.

import-linter reads which module imports which. Python also runs the ``__init__`` of every package
above an imported module, and this may import a module that is only partly loaded.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = "brainmass_core"


def modules(root: Path) -> dict[str, Path]:
    files = ((f.relative_to(root).with_suffix("").parts, f) for f in (root / PACKAGE).rglob("*.py"))
    return {".".join(p[:-1] if p[-1] == "__init__" else p): f for p, f in files}


def imports(body: list[ast.stmt]) -> Iterator[list[str]]:
    """Imports of a module at import time: for each, the names that may be modules."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from ([alias.name] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ([f"{node.module}.{a.name}", node.module] for a in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
            yield from imports([*node.body, *node.orelse])
        elif isinstance(node, ast.Try | ast.With | ast.ClassDef):
            yield from imports(node.body)


def loaded_before(module: str, known: dict[str, Path]) -> set[str]:
    """Modules that Python completes before this one; packages that contain it have only begun."""
    found = set()
    for names in imports(ast.parse(known[module].read_text(encoding="utf-8")).body):
        target = next((n for n in names if n in known), None)
        if target is None:
            continue
        parts = target.split(".")
        above = {".".join(parts[:i]) for i in range(1, len(parts))}
        found |= {target, *(a for a in above if not f"{module}.".startswith(f"{a}."))}
    return found - {module}


def test_no_import_depends_on_which_module_is_imported_first(root: Path) -> None:
    known = modules(root)
    TopologicalSorter({m: loaded_before(m, known) for m in known}).prepare()  # raises CycleError


def test_a_circle_through_a_package_is_found(tmp_path: Path) -> None:
    for name, text in {
        "__init__": "",
        "low/__init__": f"from {PACKAGE}.high import run",
        "low/base": "",
        "high": f"from {PACKAGE}.low.base import x",
    }.items():
        file = tmp_path / PACKAGE / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    known = modules(tmp_path)
    before = {m: loaded_before(m, known) for m in known}
    assert before[f"{PACKAGE}.high"] == {f"{PACKAGE}.low", f"{PACKAGE}.low.base"}
    assert f"{PACKAGE}.high" in before[f"{PACKAGE}.low"]
