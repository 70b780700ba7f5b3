"""Changes of tables, JSON and YAML that use their grammar."""

from __future__ import annotations

import codecs
import copy
import json
import math
from collections.abc import Callable
from random import Random
from typing import Any

CELLS = (
    *("", " ", "n/a", "NA", "NaN", "nan", "null", "None", "inf", "-inf", "1e400", "1e-400", "-0"),
    *("0", "1", "-9999", "999", "1.0", "01", "1,5", "1,234", "1.234,5", "1 234", "1e5", "0x10"),
    *("1_000", "٣", "½", "−1", "--1", "+1", ".", "1.", ".5", "1e", "nan(1)", "true", "'", '"'),
    *('"a', 'a"', '""', '"a\tb"', '"a,b"', '"a\nb"', "#", "#1", "a;b", "sub-01", "sub-1", "\ufeff"),
    *(
        "\u200b",
        "\xa0",
        "\x0b",
        "\x0c",
        "\x1c",
        "\x85",
        "\u2028",
        "é",
        "名",
        "\U0001f9e0",
        "9" * 400,
    ),
    *("9" * 20, "1" + "0" * 19, "9223372036854775808", "18446744073709551616", "0." + "1" * 50),
    *("-1", "1e308", "120.5", "2e-3", "5.15E+04", "=1+1", "../x", "%s", "{0}", "\\", "\x00"),
)
NAMES = ("", "index", "name", "label", "age", "participant_id", "x", "r", "a", "s", "g", "b", "fd")
ENCODINGS = (
    "utf-8-sig",
    "utf-16",
    "utf-16-le",
    "utf-32",
    "utf-32-be",
    "latin-1",
    "cp1252",
    "utf-7",
)
ENDS = ("\n", "\r\n", "\r", "\n\n", "\x0b", "\u2028", "\n\r")


def text_of(raw: bytes) -> str:
    """Text in any encoding."""
    for encoding in ("utf-8-sig", "latin-1"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise AssertionError("latin-1 decodes all bytes")


def table(raw: bytes, rng: Random) -> bytes:
    """Change cells, rows, the header, delimiters, quotes, ends of lines, or the encoding."""
    text = text_of(raw)
    delimiter = max("\t,; ", key=text.count)
    rows = [line.split(delimiter) for line in text.splitlines()] or [[""]]
    for _ in range(rng.randint(1, 3)):
        rng.choice(ROWS)(rows, rng)
        rows = [row for row in rows if row] or [[""]]
    if rng.random() < 0.1:
        delimiter = rng.choice(["\t", ",", ";", " ", "|", "\t\t"])
    end = rng.choice(ENDS) if rng.random() < 0.1 else "\n"
    text = end.join(delimiter.join(row) for row in rows) + rng.choice([end, end, "", end * 3])
    return _encoded(text, rng)


def _encoded(text: str, rng: Random) -> bytes:
    if rng.random() < 0.9:
        return text.encode("utf-8", "replace")
    raw = text.encode(rng.choice(ENCODINGS), "replace")
    return rng.choice([b"", b"", codecs.BOM_UTF8, codecs.BOM_UTF16_LE]) + raw


def _cell(rows: list[list[str]], rng: Random) -> None:
    row = rng.choice(rows)
    row[rng.randrange(len(row))] = rng.choice(CELLS)


def _column(rows: list[list[str]], rng: Random) -> None:
    at, value = rng.randrange(len(rows[0])), rng.choice(CELLS)
    for row in rows[1:]:
        if at < len(row) and rng.random() < 0.7:
            row[at] = value


def _header(rows: list[list[str]], rng: Random) -> None:
    rows[0][rng.randrange(len(rows[0]))] = rng.choice([*NAMES, *CELLS, *rows[0]])


def _longer(rows: list[list[str]], rng: Random) -> None:
    row, cell = rng.choice(rows), rng.choice([*CELLS, ""])
    row.insert(rng.randint(0, len(row)), cell)


def _shorter(rows: list[list[str]], rng: Random) -> None:
    row = rng.choice(rows)
    del row[rng.randrange(len(row))]


def _new_column(rows: list[list[str]], rng: Random) -> None:
    at, head = rng.randint(0, len(rows[0])), rng.choice([*NAMES, ""])
    counts = rng.random() < 0.5
    for i, row in enumerate(rows):
        row.insert(at, head if i == 0 else str(i) if counts else rng.choice(CELLS))


def _new_row(rows: list[list[str]], rng: Random) -> None:
    row = rng.choice([[""], ["#"], ["# a", "b"], list(rng.choice(rows)), [""] * len(rows[0])])
    rows.insert(rng.randint(0, len(rows)), row)


def _without_row(rows: list[list[str]], rng: Random) -> None:
    del rows[rng.randrange(len(rows))]


def _quoted(rows: list[list[str]], rng: Random) -> None:
    row = rng.choice(rows)
    at = rng.randrange(len(row))
    row[at] = rng.choice(['"{}"', '"{}', '{}"', "'{}'", '"{}\n"', '""{}""']).format(row[at])


ROWS: tuple[Callable[[list[list[str]], Random], None], ...] = (
    *(_cell, _cell, _column, _header, _longer, _shorter, _new_column, _new_row, _without_row),
    _quoted,
)

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 0.5, -0.0, 1e308, 10**30, 10**400, 2**31, 2**63, 2**64),
    *("", "a", "é", "\0", "\ud800", "../../etc/passwd", "/dev/zero", "nan", "1", "true", "i", "k-"),
    *([], {}, [[]], [None], [0, 0], [1e30], {"": None}, {"a": {"a": {}}}, [1.0] * 1000),
    *(
        float("nan"),
        float("inf"),
        -float("inf"),
        "x" * 10000,
        "i\u0301",
        "__class__",
        "{0.__init__}",
    ),
)


def json_value(raw: bytes, rng: Random) -> bytes:
    """Change a value, a key, a list, a type or the nesting of a JSON text."""
    try:
        tree = json.loads(text_of(raw))
    except (ValueError, RecursionError):
        return raw
    for _ in range(rng.randint(1, 3)):
        tree = _changed(tree, rng)
    text = json.dumps(tree)
    if rng.random() < 0.15:
        text = _odd_json(text, rng)
    return _encoded(text, rng)


def _odd_json(text: str, rng: Random) -> str:
    n = rng.choice([100, 5000, 200_000])
    at = rng.randint(0, len(text))
    return rng.choice(
        [
            "[" * n + text + "]" * n,
            '{"a":' * n + "1" + "}" * n,
            text.replace("{", '{"a": 1, "a": 2, ', 1),
            text.replace("1", "1" * rng.choice([50, 5000, 100_000]), 1),
            text.replace("0", "-" + "9" * 400 + "e9", 1),
            text[:at]
            + rng.choice([",", "]", "}", "NaN", "\\", "'", "//", "\x00", "\\ud800"])
            + text[at:],
            text + text,
        ]
    )


def _changed(tree: Any, rng: Random) -> Any:
    """A tree with one changed place."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in items:
            places.append((node, key))
            if isinstance(value, dict | list):
                walk(value)

    if not isinstance(tree, dict | list) or rng.random() < 0.02:
        return _value(rng)
    walk(tree)
    if not places:
        return {"a": _value(rng)}
    node, key = rng.choice(places)
    kind = rng.randrange(6)
    if kind == 0:
        del node[key]
    elif kind == 1 and isinstance(node, dict):
        node[rng.choice(["", key + "x", key.upper(), "a", "é"])] = node.pop(key)
    elif kind == 2:
        node[key] = [node[key]] * rng.choice([1, 2, 3])
    elif kind == 3 and isinstance(node[key], int | float | str):
        node[key] = _near(node[key], rng)
    elif kind == 4:
        other, at = rng.choice(places)
        if at in other if isinstance(other, dict) else at < len(other):
            node[key] = json.loads(json.dumps(other[at]))
    else:
        node[key] = _value(rng)
    return tree


def _value(rng: Random) -> Any:
    return copy.deepcopy(rng.choice(VALUES))  # the new value may be changed, too


def _near(value: Any, rng: Random) -> Any:
    if isinstance(value, str):
        return rng.choice([value + " ", value.upper(), value[:-1], value + "0", value * 2, [value]])
    as_float = math.inf if abs(value) > 1e300 else float(value)
    text = "9" * 400 if as_float == math.inf else str(value)
    return rng.choice([value + 1, -value, value * 1000, text, as_float, value == 1, 0])


YAML_LINES = (
    *("a: &a [x]\nb: [*a, *a]", "<<: {presets: []}", "? [1, 2]\n: 3", "? {a: 1}\n: 2", "*missing"),
    *("x: !!python/object/apply:os.system ['touch EVIL']", "- a", "%YAML 1.3", "---", "...", "\t"),
    *("x: !!python/name:os.system", "!!binary aGk=", "x: !!binary 'é'", "x: !!timestamp 99", "{"),
    *("x: !!int 'a'", "x: !!float '.'", "x: !!set {a, b}", "x: !!omap [a: 1]", "x: !!pairs [a]"),
    *(
        "seed: 0b2",
        "seed: 190:20:30",
        "seed: 0o7",
        "seed: 07",
        "seed: 08",
        "seed: 1_000",
        "seed: 1e3",
    ),
    *(
        "seed: .inf",
        "seed: .nan",
        "seed: 9" + "9" * 5000,
        "seed: 2001-99-99",
        "seed: 2001-12-14t21:59:43",
    ),
    *("&a a: *a", "a: &a {b: *a}", "a: &a\n  <<: *a", "<<: 1", "<<: [1]", "=: 1", "x: !<tag:x> 1"),
    *("datasets: ", "results: |\n  x\n  y", "results: >\n  x", "tasks: {x: }", "presets: [a, [b]]"),
    *(
        "presets: {a: 1}",
        "presets: timeseries/cpac-default",
        "null: 1",
        "true: 1",
        "1: 1",
        "1.5: 2",
    ),
    *("datasets: {1: {}}", "datasets: {null: 2}", "? !!python/tuple [1]\n: 1", "? 2001-01-01\n: 1"),
)


def yaml_text(raw: bytes, rng: Random) -> bytes:
    """Change a value, a line or the indentation, or insert syntax that only YAML has."""
    lines = text_of(raw).split("\n")
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines)) if lines else 0
        kind = rng.randrange(7)
        if kind == 0:
            lines.insert(at, rng.choice(YAML_LINES))
        elif kind == 1 and ":" in lines[at]:
            value = rng.choice(
                [*map(str, VALUES[:24]), *YAML_LINES, "[a, b]", "{a: 1}", "~", "| x"]
            )
            lines[at] = lines[at].split(":")[0] + ": " + value
        elif kind == 2:
            lines.insert(rng.randrange(len(lines)), lines[at])
        elif kind == 3:
            lines[at] = rng.choice([" ", "  ", "\t", ""]) + lines[at].lstrip(rng.choice([" ", ""]))
        elif kind == 4 and len(lines) > 1:
            del lines[at]
        elif kind == 5 and ":" in lines[at]:
            key, _, rest = lines[at].partition(":")
            lines[at] = f"{key}{rng.choice(['x', '_', '.a', ' '])}:{rest}"
        else:
            lines = _bomb(lines, rng) if rng.random() < 0.3 else lines
    return _encoded("\n".join(lines), rng)


def _bomb(lines: list[str], rng: Random) -> list[str]:
    n = rng.choice([10, 100, 3000])
    aliases = ["a0: &a0 [x, x, x, x, x, x, x, x]"]
    aliases += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]" for i in range(1, 9)]
    merged = ["m0: &m0 {a: 1}"]
    merged += [
        f"m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 9)}], k{i}: 1}}" for i in range(1, 8)
    ]
    deep = ["x: " + "[" * n + "]" * n]
    inside = [f"datasets: {{a: {'{a: ' * n}1{'}' * n}}}"]
    return lines + rng.choice([aliases, merged, deep, inside, [*aliases, "results: *a8"]])
