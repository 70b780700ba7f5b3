"""The analyses of a BrainLM on the front page."""

import pyarrow as pa
import pytest

from brainmass_core.config.series_model import SeriesModel
from brainmass_core.report.stage import index_page
from brainmass_core.tables import SERIES_MODEL, TableError, from_rows, write_table

pytestmark = pytest.mark.study
PNG = b"\x89PNG of a figure"
GIVEN = {"method": "model", "name": "roi-7", "step": 0, "first": "control", "n_first": 31}
GIVEN |= {"dataset": "c", "scheme": "within", "network": ""}
GIVEN |= {"second": "patient", "n_second": 29, "remaining_low": 0.21, "remaining_high": 0.34}


def row_of(schema: pa.Schema) -> dict:
    """The row of a single participant: without intervals."""
    row = {}
    for field in schema:
        numbers = pa.types.is_floating(field.type) and not field.name.endswith(("_low", "_high"))
        row[field.name] = GIVEN.get(field.name, 0.625 if numbers else None)
        if pa.types.is_integer(field.type) and row[field.name] is None:
            row[field.name] = 1
    return row


@pytest.fixture
def config(own_study):
    analysed = SeriesModel(analyses=list(SERIES_MODEL))
    return own_study.config.model_copy(update={"series_model": analysed})


def test_every_analysis_has_its_figure_and_its_table(own_study, config, no_figures):
    with pytest.raises(TableError, match=r"no such table; run: .* series_model"):
        index_page(config)
    for name, schema in SERIES_MODEL.items():
        path = own_study.paths.series_model(f"{name}.parquet")
        write_table(path, from_rows([row_of(schema)], schema), f"series_model_{name}", "hash")
        path.with_suffix(".png").write_bytes(PNG)
    html = index_page(config)
    for name in SERIES_MODEL:
        assert f'id="figure-series_model_{name}"' in html
        assert f'id="series-model-{name}"' in html
    assert html.count("roi-7") == 2  # attention and perturbation
    assert "patient (29) - control (31)" in html
    assert "21% to 34%" in html
    assert "did not converge" not in html
    lost = row_of(SERIES_MODEL[name]) | {"remaining_low": 1.24, "remaining_high": 2.93}
    assert name == "perturbation"
    write_table(path, from_rows([lost], schema), f"series_model_{name}", "hash")
    assert "124% of the distance or more remains. The map must not be interpreted" in index_page(
        config
    )
    assert "nan" not in html.lower().split('id="series-model"')[1].split("</section>")[0]


def test_a_study_without_them_says_nothing_of_them(pages):
    assert "series-model" not in pages["index"]
