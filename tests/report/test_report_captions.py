from brainmass_core.pipeline.paths import FIGURES


def test_every_figure_has_a_caption_of_one_sentence(root):
    for name in (*FIGURES, "quality"):
        text = (root / "workflow" / "report" / f"{name}.rst").read_text().strip()
        assert text.endswith(".")
        assert "\n" not in text
        assert text.count(". ") == 0
