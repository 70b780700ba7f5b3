"""Phenotypes reach the right scan as written, and only those that the configuration names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainmass_core.config import parse_config
from brainmass_core.config.phenotypes import named_phenotypes
from brainmass_core.scans import ScansError
from brainmass_core.scans.stage import list_scans


class Study:
    """Ready series of some names with a phenotype table."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "data").mkdir()

    def scans(self, *names: str) -> None:
        for name in names:
            np.save(self.root / "data" / f"{name}.npy", np.zeros((5, 3)))

    def table(self, text: str | bytes, name: str = "pheno.tsv") -> Path:
        path = self.root / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def config(self, tasks: dict | None = None, phenotype: dict | None = None, **dataset):
        path = str(self.root / "pheno.tsv")
        section = {"kind": "timeseries", "role": "internal", "path": str(self.root / "data")}
        section |= {"t_r": 2.0, "phenotype": {"path": path, **(phenotype or {})}, **dataset}
        raw = {"results": str(self.root / "results"), "datasets": {"d": section}}
        return parse_config(raw | {"tasks": tasks or {}, "atlas": {"name": "toy", "n_rois": 3}})

    def list(self, tasks: dict | None = None, **settings) -> pd.DataFrame:
        found, unmatched = list_scans(self.config(tasks, **settings), "d")
        found = found.astype(object).where(found.notna(), None)
        found.attrs["unmatched"] = unmatched
        return found.sort_values("scan_id").set_index("participant_id")


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


DX = {"datasets": ["d"], "label": "dx", "classes": {"c": ["HC"], "p": ["MDD"]}}
IQ = {"datasets": ["d"], "label": "FIQ", "kind": "regression"}
AGE = {"age_column": "age"}


SPLIT = {**DX, "protocol": {"kind": "fixed_split", "split_column": "arm"}}
STRATA = {
    "stratify_by": {"stratify_by": "arm"},
    "site": {"phenotype": {"site_column": "arm"}},
    "split_column": {"tasks": {"dx": SPLIT}},
}


@pytest.mark.parametrize("settings", STRATA.values(), ids=STRATA)
@pytest.mark.parametrize("code", ["-9999", "999"])
def test_a_code_is_no_stratum(study, settings, code):
    study.scans(*people(8))
    arms = ["1", "2", "1", "2", "1", "1", code, code]
    rows = zip(people(8), arms, strict=True)
    study.table("participant_id\tdx\tarm\n" + "".join(f"{p}\tHC\t{a}\n" for p, a in rows))
    said = rf"pheno.tsv: column 'arm': found {code} \(2 times\).*missing_values: \[{code}\]"
    with pytest.raises(ScansError, match=said):
        study.list(**settings)
    found = study.list(**settings, missing_values=[int(code)])
    column = "site" if "phenotype" in settings else "pheno_arm"
    assert list(found[column]) == [*arms[:6], None, None]


def test_a_code_is_no_group_of_the_quality_pages(study):
    study.scans(*people(4))
    rows = zip(people(4), ["1", "2", "-9999", "-9999"], strict=True)
    study.table("participant_id\tarm\n" + "".join(f"{p}\t{a}\n" for p, a in rows))
    config = study.config()
    quality = config.quality.model_copy(update={"group_column": "arm"})
    with pytest.raises(ScansError, match=r"column 'arm': found -9999 \(2 times\)"):
        list_scans(config.model_copy(update={"quality": quality}), "d")


def people(n, start=1):
    return [f"sub-{i:02d}" for i in range(start, start + n)]


def rows(header, *lines):
    return "\n".join(["\t".join(header.split()), *lines]) + "\n"


def test_stray_quotation_marks_change_nobodys_diagnosis(study):
    study.scans(*people(8))
    dx = ["HC", "HC", "MDD", "MDD", "HC", "MDD", "HC", "MDD"]
    note = ["ok", '"tired', "ok", "ok", "ok", '" left early', "ok", "ok"]
    lines = [f"{p}\t{n}\t{d}" for p, n, d in zip(people(8), note, dx, strict=True)]
    study.table(rows("participant_id note dx", *lines))
    assert study.list({"dx": DX})["pheno_dx"].tolist() == dx


def test_a_tab_at_the_end_of_every_row_makes_nobody_another(study):
    study.scans(*people(8, 21))
    study.table(rows("participant_id age dx", *(f"{21 + i}\t{28 - i}\tHC\t" for i in range(8))))
    found = study.list({"dx": DX}, phenotype=AGE)
    assert found["age"].tolist() == [28 - i for i in range(8)]
    assert found.attrs["unmatched"].scans_only == []


def test_a_shifted_row_is_refused_with_its_line(study):
    study.scans(*people(2))
    study.table(rows("participant_id age dx", "sub-01\t20\tHC", "sub-02\tMDD"))
    with pytest.raises(ScansError, match=r"pheno\.tsv: line 3: found 2 fields, expected 3"):
        study.list({"dx": DX})


@pytest.mark.parametrize("written", [-9999, "-9999.0"])
def test_an_undeclared_code_in_a_target_is_refused_and_a_declared_one_missing(study, written):
    study.scans(*people(12))
    iq = [written if i in (3, 7, 9) else 90 + 2 * i for i in range(12)]
    study.table(
        rows("participant_id FIQ", *(f"{p}\t{v}" for p, v in zip(people(12), iq, strict=True)))
    )
    with pytest.raises(ScansError, match=r"column 'FIQ': found -9999 \(3 times\).*missing_values"):
        study.list({"iq": IQ})
    found = study.list({"iq": IQ}, missing_values=[-9999])
    assert found["pheno_FIQ"].isna().tolist() == [i in (3, 7, 9) for i in range(12)]
    assert study.list({"iq": IQ}, valid_values=[-9999])["pheno_FIQ"].notna().all()


@pytest.mark.parametrize(
    ("column", "settings"),
    [("age", AGE), ("fd", {"mean_fd_column": "fd"}), ("site", {"site_column": "site"})],
)
def test_an_undeclared_code_in_an_age_or_confound_is_refused(study, column, settings):
    study.scans(*people(8))
    values = [-999 if i < 2 else 10 + i for i in range(8)]
    lines = [f"{p}\t{v}" for p, v in zip(people(8), values, strict=True)]
    study.table(rows(f"participant_id {column}", *lines))
    with pytest.raises(ScansError, match=rf"column '{column}': found -999 \(2 times\)"):
        study.list(phenotype=settings)
    assert (
        study.list(phenotype=settings, missing_values=[-999])[{"fd": "mean_fd"}.get(column, column)]
        .isna()
        .sum()
        == 2
    )


def test_decimal_commas_are_read_and_ages_in_months_refused(study):
    study.scans(*people(3))
    study.table(rows("participant_id age", "sub-01\t20,5", "sub-02\t21,25", "sub-03\t22"))
    assert study.list(phenotype=AGE)["age"].tolist() == [20.5, 21.25, 22.0]
    study.table(rows("participant_id age", "sub-01\t252", "sub-02\t264", "sub-03\t276"))
    with pytest.raises(ScansError, match=r"column 'age': 252 \(once\).*an age in years"):
        study.list(phenotype=AGE)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-8-sig"])
def test_encodings_are_read(study, encoding):
    study.scans(*people(2))
    study.table(rows("participant_id dx note", "sub-01\tHC\té", "sub-02\tHC\té").encode(encoding))
    assert study.list({"dx": DX})["pheno_dx"].tolist() == ["HC", "HC"]


def test_two_columns_of_one_name_are_refused(study):
    study.scans(*people(1))
    study.table("participant_id\tage\tage \nsub-01\t21\t91\n")
    with pytest.raises(ScansError, match=r"'age' is given to columns 2, 3"):
        study.list(phenotype=AGE)


@pytest.mark.parametrize("written", ["sub-0051", "0051", "51", "SUB-0051", "51.0"])
def test_leading_zeros_and_prefix_do_not_matter_and_the_scan_keeps_its_name(study, written):
    study.scans("sub-0051")
    study.table(rows("participant_id age", f"{written}\t21"))
    found = study.list(phenotype=AGE)
    assert found.index.tolist() == ["sub-0051"]
    assert found["age"].tolist() == [21.0]


def test_leading_zeros_tell_two_people_apart_where_scans_and_table_do(study):
    study.scans("sub-01", "sub-1", "sub-2")
    study.table(rows("participant_id age", "sub-01\t21", "sub-1\t31", "02\t41"))
    found = study.list(phenotype=AGE)["age"]
    assert (found["sub-01"], found["sub-1"], found["sub-2"]) == (21.0, 31.0, 41.0)


def test_ids_that_a_spreadsheet_made_numbers_are_refused(study):
    study.scans("sub-51456")
    study.table(rows("participant_id age", "5.15E+04\t21"))
    with pytest.raises(ScansError, match=r"line 2: the id '5\.15E\+04'"):
        study.list()


# --- sessions


def test_rows_per_session_are_joined_by_participant_and_session(study):
    names = [f"{p}_ses-{s}_task-rest" for p in people(2) for s in (1, 2)]
    study.scans(*names)
    lines = [f"{p}\tses-0{s}\t{20 + 10 * s + i}" for i, p in enumerate(people(2)) for s in (1, 2)]
    study.table(rows("participant_id session_id age", *lines))
    assert study.list(phenotype=AGE)["age"].tolist() == [30.0, 40.0, 31.0, 41.0]


def test_another_column_of_sessions_can_be_named(study):
    study.scans("sub-01_ses-bl", "sub-01_ses-m12", "sub-02_ses-m12")
    lines = ["01\tbl\t60", "01\tm12\t61", "02\tbl\t70"]
    study.table(rows("participant_id VISCODE age", *lines))
    found = study.list(phenotype=AGE | {"session_column": "VISCODE"})
    assert found["age"].tolist() == [60.0, 61.0, None]
    assert found.attrs["unmatched"].scans_only == ["sub-02 ses-m12"]


def test_scans_without_a_session_take_what_all_sessions_agree_on(study):
    study.scans(*people(2))
    lines = [f"{p}\tses-{s}\tHC\t{20 + s}" for p in people(2) for s in (1, 2)]
    study.table(rows("participant_id session_id dx age", *lines))
    assert study.list({"dx": DX})["pheno_dx"].tolist() == ["HC", "HC"]
    with pytest.raises(ScansError, match=r"differ in 'age'.*phenotype\.session, such as 'ses-1'"):
        study.list({"dx": DX}, phenotype=AGE)
    found = study.list({"dx": DX}, phenotype=AGE | {"session": "2"})
    assert found["age"].tolist() == [22.0, 22.0]
    with pytest.raises(ScansError, match="no row of session '3'"):
        study.list(phenotype=AGE | {"session": "3"})


def test_two_rows_of_one_session_are_refused(study):
    study.scans("sub-01_ses-1")
    study.table(rows("participant_id session_id age", "01\t1\t20", "01\tses-1\t21"))
    with pytest.raises(ScansError, match="session '1' of 01 has more than one row, 2, 3"):
        study.list(phenotype=AGE)


def test_two_rows_without_a_session_are_refused_with_a_remedy(study):
    study.scans("sub-01")
    study.table(rows("participant_id age", "01\t20", "01\t21"))
    with pytest.raises(ScansError, match=r"rows 2 \(01\), 3 \(01\)") as error:
        study.list(phenotype=AGE)
    assert "phenotype.session_column" in str(error.value)


# --- what leaves


def test_columns_that_nobody_names_do_not_enter_the_results(study):
    study.scans(*people(2))
    header = "participant_id dx name address age set iq site SCORE"
    lines = [f"{p}\tHC\tAnna\tMain street\t2{i}\ta\t100\tA\t1" for i, p in enumerate(people(2))]
    study.table(rows(header, *lines))
    tasks = {
        "dx": DX | {"exclude": "pheno_iq.astype('float') < 70 or `pheno_SCORE` == '9'"},
    }
    found = study.list(tasks, phenotype=AGE | {"site_column": "site"})
    kept = {c for c in found if c.startswith("pheno_")}
    assert kept == {"pheno_dx", "pheno_iq", "pheno_SCORE", "pheno_age", "pheno_site"}
    assert not found.isin(["Anna", "Main street"]).any().any()


def test_the_columns_of_tasks_protocols_and_quality_are_named(study):
    study.scans(*people(2))
    study.table(rows("participant_id dx", "sub-01\tHC", "sub-02\tHC"))
    split = DX | {"protocol": {"kind": "fixed_split", "split_column": "set"}}
    config = study.config({"dx": split}, stratify_by="dx")
    config = config.model_copy(
        update={"quality": config.quality.model_copy(update={"group_column": "centre"})}
    )
    assert named_phenotypes(config, "d") == ["centre", "dx", "set"]


def test_a_column_that_a_task_names_and_the_table_lacks_is_said(study, caplog):
    study.scans(*people(1))
    study.table(rows("participant_id diagnosis", "sub-01\tHC"))
    study.list({"dx": DX | {"label": "diagnosi"}})
    assert "no column 'diagnosi'" in caplog.text
    assert "did you mean 'diagnosis'?" in caplog.text
