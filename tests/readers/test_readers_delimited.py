"""A table is read as it is written, or refused with the line at fault; no field moves."""

from __future__ import annotations

import csv
import gzip
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainmass_core.readers import FileError, read_delimited


@pytest.fixture
def table(tmp_path):
    def read(text, name="p.tsv"):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_delimited(tmp_path / name)

    return read


def test_quotation_marks_of_a_tsv_are_characters(table):
    notes = ["ok", '"tired', "ok", '" left early', 'the "best"']
    rows = "\n".join(f"sub-{i:02d}\t{n}\tHC" for i, n in enumerate(notes))
    found = table(f"participant_id\tnote\tdx\n{rows}\n")
    assert found["note"].tolist() == notes
    assert found["dx"].tolist() == ["HC"] * 5
    assert found.index.tolist() == [2, 3, 4, 5, 6]


def test_a_csv_has_the_quoting_of_rfc_4180(table):
    found = table('id,note\n1,"a, b"\n2,"he said ""no"""\n3,5" tall\n', "p.csv")
    assert found["note"].tolist() == ["a, b", 'he said "no"', '5" tall']


@given(st.lists(st.text("ab,;\"' é", max_size=5).map(str.strip), min_size=3, max_size=3))
def test_what_the_csv_module_writes_is_read_back(tmp_path_factory, cells):
    path = tmp_path_factory.mktemp("t") / "p.csv"
    text = io.StringIO()
    csv.writer(text).writerows([["id", "b", "c", "d"], ["1", *cells]])
    path.write_bytes(text.getvalue().encode())
    assert read_delimited(path).iloc[0].tolist() == ["1", *cells]


@pytest.mark.parametrize(
    "text",
    [
        'id,note,dx\n1,"tired,HC\n2,ok,MDD\n3,left early",HC\n',  # the right number of fields
        'id,note,dx\n1,"tired,HC\n2,ok,MDD\n',
        'id,note,dx\n1,"tired" today,HC\n',
    ],
)
def test_a_stray_quotation_mark_of_a_csv_swallows_no_row(table, text):
    with pytest.raises(FileError, match=r"p\.csv: lines? 2.*quotation mark"):
        table(text, "p.csv")


def test_a_note_of_two_lines_is_read(table):
    assert table('id,note\n1,"a\nb"\n2,c\n', "p.csv")["note"].tolist() == ["a\nb", "c"]


@pytest.mark.parametrize(
    ("rows", "line", "found"),
    [
        ("1\t2\t3\n4\t5\n", 3, 2),
        ("1\t2\t3\n4\t5\t6\t7\n", 3, 4),
        ("1\t2\n4\t5\t6\n", 2, 2),
        ("1\t2\t3\n\n4\t5\t6\t\n", 4, 4),  # one row with a tab at its end, the others without
        ("x\t1\t2\t3\ny\t4\t5\t6\n", 2, 4),  # row names without a name, as R writes them
    ],
)
def test_a_row_of_another_length_is_refused_with_its_line(table, rows, line, found):
    message = rf"p\.tsv: line {line}: found {found} fields, expected 3 .*\(a, b, c\)"
    with pytest.raises(FileError, match=message):
        table(f"a\tb\tc\n{rows}")


@pytest.mark.parametrize("header", ["a\tb", "a\tb\t", "a\tb\t\t"])
@pytest.mark.parametrize("end", ["\t", "\t\t"])
def test_an_empty_field_at_the_end_of_every_row_is_no_index(table, header, end):
    found = table(f"{header}\n21\t28{end}\n22\t27{end}\n")
    assert found.to_dict("list") == {"a": ["21", "22"], "b": ["28", "27"]}


def test_a_delimiter_at_the_end_of_the_header_alone_is_left_out(table):
    assert list(table("a,b,\n1,2\n", "p.csv")) == ["a", "b"]


def test_an_unnamed_last_column_with_values_is_refused(table):
    with pytest.raises(FileError, match="line 2: found 3 fields, expected 2"):
        table("a\tb\t\n1\t2\t3\n")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("age\tage\tdx", r"the name 'age' is given to columns 1, 2"),
        ("age\tage \tdx", r"the name 'age' is given to columns 1, 2"),
        ("age\t\xa0age\tdx", r"the name 'age' is given to columns 1, 2"),
        ("\tage\tdx", "column 1 has no name"),
        ("age\t \tdx", "column 2 has no name"),
        ('"id"\t"age"\t"dx"', "names are in quotation marks"),
    ],
)
def test_names_are_unique_and_not_empty(table, header, message):
    with pytest.raises(FileError, match=message):
        table(f"{header}\nx\t2\t3\n")


@pytest.mark.parametrize("numbers", [(0, 1), (1, 2), (1, 7)])
def test_row_numbers_without_a_name_are_left_out(table, numbers):
    found = table(f",id,age\n{numbers[0]},51,20\n{numbers[1]},52,21\n", "p.csv")
    assert found.to_dict("list") == {"id": ["51", "52"], "age": ["20", "21"]}


@pytest.mark.parametrize("ids", [("sub-01", "sub-02"), (2, 1), (1, 1)])
def test_an_unnamed_first_column_of_anything_else_is_refused(table, ids):
    with pytest.raises(FileError, match="column 1 has no name"):
        table(f",age\n{ids[0]},20\n{ids[1]},21\n", "p.csv")


def test_names_and_values_lose_white_space_around(table):
    found = table("\ufeff id \t age\xa0\n 0051 \t 21\n")
    assert found.to_dict("list") == {"id": ["0051"], "age": ["21"]}


@pytest.mark.parametrize(
    "text", ["a\tb\n", "# only\n# comments\n", "a\tb\n#1\t2\n", "\n \n", "\t\n\t\t\n"]
)
def test_a_table_without_rows_is_refused(table, text):
    with pytest.raises(FileError, match=r"no rows|only comments|is empty|contains only delimiters"):
        table(text)


def test_blank_lines_and_comments_are_no_rows_and_lines_are_counted_with_them(table, caplog):
    caplog.set_level("INFO")
    found = table("# made by hand\n\na\tb\n1\t2\n\t\n#3\t4\n5\t6\n")
    assert found["a"].tolist() == ["1", "5"]
    assert found.index.tolist() == [4, 7]
    assert "2 lines that begin with #" in caplog.text


@pytest.mark.parametrize(
    ("name", "delimiter"),
    [
        ("p.csv", ";"),
        ("p.csv", "\t"),
        ("p.csv", ","),
        ("p.tsv", ","),
        ("p.tsv", ";"),
        ("p.txt", ","),
    ],
)
def test_the_delimiter_that_occurs_is_taken(table, name, delimiter):
    found = table(f"a{delimiter}b\n1{delimiter}2\n", name)
    assert found.to_dict("list") == {"a": ["1"], "b": ["2"]}


def test_decimal_commas_do_not_separate_in_a_csv_of_semicolons(table):
    assert table("id;age\n1;12,5\n", "p.csv")["age"].tolist() == ["12,5"]


@pytest.mark.parametrize(
    ("name", "header", "message"),
    [
        ("p.csv", "a,b;c", "as many commas as semicolons"),
        ("p.tsv", "a b c", "separated by spaces"),
        ("p.txt", "a b c", "separated by spaces"),
    ],
)
def test_an_ambiguous_delimiter_is_refused(table, name, header, message):
    with pytest.raises(FileError, match=message):
        table(f"{header}\n1 2 3\n", name)


def test_a_note_for_excel_is_no_header(table):
    with pytest.raises(FileError, match="begins with 'sep=;', a note for Excel"):
        table("sep=;\na;b\n1;2\n", "p.csv")


def test_mixed_delimiters_are_refused_with_the_line(table):
    with pytest.raises(FileError, match="line 3: found 1 fields, expected 2"):
        table("a\tb\n1\t2\n3,4\n")


def test_a_comma_in_a_tsv_is_text(table):
    assert table("a, b\tc\n1, 2\t3\n").to_dict("list") == {"a, b": ["1, 2"], "c": ["3"]}


def test_a_gzipped_table_is_read(table):
    assert table(gzip.compress(b"a\tb\n1\t2\n"), "p.tsv.gz")["b"].tolist() == ["2"]
