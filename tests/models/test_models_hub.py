"""Models by name: folders, the cache of huggingface_hub as it lies on the disk, and publication."""

import inspect
import shutil
import sys
from types import SimpleNamespace

import pytest
import torch

from brainmass_core.encoders.brainlm.model import BrainLM
from brainmass_core.encoders.brainmass.model import BrainMass, build
from brainmass_core.models import hub
from brainmass_core.models.hub import front_matter, front_matter_of, model_folder, pretrained_card
from brainmass_core.models.pretrained import ModelError
from brainmass_core.predict.card import _about

huggingface_hub = pytest.importorskip("huggingface_hub")
pytest.importorskip("huggingface_hub.constants")
pytest.importorskip("huggingface_hub.utils")
SERIES = {
    **dict.fromkeys(("width", "feedforward", "decoder_feedforward"), 16),
    **dict.fromkeys(("depth", "decoder_depth"), 1),
    **dict.fromkeys(("heads", "decoder_heads"), 2),
    "patch": 20,
}
NAME, COMMIT, OTHER = "lab/encoder", "a" * 40, "b" * 40
CARD = front_matter(pretrained_card("brainmass", ["x"])).replace("unknown", "cc-by-4.0")


@pytest.fixture
def stored(tmp_path):
    """A model folder with a card that states a licence."""
    folder = tmp_path / "model"
    build("tiny", 6, seed=4, heads=3).save_pretrained(folder, {"atlas": "toy"})
    (folder / "README.md").write_text(CARD + "# A model\n")
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, without network."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", _with_cache(huggingface_hub.snapshot_download, folder)
    )
    monkeypatch.chdir(tmp_path)
    return folder


def _with_cache(own, folder):
    # its default was read from the environment when the module was imported
    return lambda *given, **named: own(*given, cache_dir=folder, **named)


def cached(cache, folder, commit, branch="main"):
    """Lay a folder into the cache as `hf download` does: blobs, links in a snapshot, a branch."""
    root = cache / f"models--{NAME.replace('/', '--')}"
    snapshot = root / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (root / "blobs").mkdir(exist_ok=True)
    for file in folder.iterdir():
        blob = root / "blobs" / f"{commit[:8]}{file.name}"
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(blob)
    (root / "refs").mkdir(exist_ok=True)
    (root / "refs" / branch).write_text(commit)
    return snapshot


def test_a_folder_is_itself_and_takes_precedence_over_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lab" / "encoder").mkdir(parents=True)
    assert model_folder(NAME) == hub.Path(NAME)
    assert model_folder(tmp_path / "missing") == tmp_path / "missing"
    with pytest.raises(ModelError, match="revision 'v1' for a folder"):
        model_folder(NAME, "v1")


def test_a_model_is_read_from_the_cache_by_name_and_revision(cache, stored, tmp_path):
    cached(cache, stored, COMMIT)
    other = tmp_path / "other"
    build("tiny", 6, seed=5, heads=3).save_pretrained(other)
    cached(cache, other, OTHER, branch="second")
    for revision, folder in ((None, stored), (COMMIT, stored), ("second", other), (OTHER, other)):
        found = BrainMass.from_pretrained(NAME, revision=revision)
        expected = BrainMass.from_pretrained(folder)
        assert torch.equal(found.cls_token, expected.cls_token)


def test_a_brainlm_is_read_by_name_too(cache, tmp_path):
    model = BrainLM(SERIES)
    model.save_pretrained(tmp_path / "lm")
    cached(cache, tmp_path / "lm", COMMIT)
    found = BrainLM.from_pretrained(NAME).state_dict()
    assert all(torch.equal(t, found[n]) for n, t in model.state_dict().items())


def test_a_damaged_file_in_the_cache_is_refused(cache, stored):
    weights = cached(cache, stored, COMMIT) / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.resolve().write_bytes(content)
    with pytest.raises(ModelError, match="sha256"):
        BrainMass.from_pretrained(NAME)


def test_what_is_not_cached_says_how_to_get_it(cache):
    with pytest.raises(ModelError) as error:
        BrainMass.from_pretrained(NAME)
    for said in (NAME, str(cache), "HF_HUB_OFFLINE is set", "hf download lab/encoder", "HF_HOME"):
        assert said in str(error.value)


def test_without_huggingface_hub_a_name_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModelError, match=r"pip install 'brainmass-core\[hub\]'"):
        BrainMass.from_pretrained(NAME)


@pytest.fixture
def uploads(monkeypatch):
    """What is given to the Hub."""
    seen = []

    class Api:
        def __init__(self, token=None):
            seen.append({"token": token})

        def create_repo(self, repo_id, **how):
            inspect.signature(huggingface_hub.HfApi.create_repo).bind(self, repo_id, **how)
            seen.append({"create": repo_id} | how)
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, **how):
            inspect.signature(huggingface_hub.HfApi.upload_folder).bind(self, **how)
            seen.append(how)
            return SimpleNamespace(commit_url="https://example.org/commit")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    return seen


def test_a_model_is_published_with_the_files_of_its_folder(stored, uploads):
    (stored / "notes.py").write_text("import os")
    model = BrainMass.from_pretrained(stored)
    assert model.push_to_hub(NAME, private=True, token="t") == "https://example.org/commit"
    token, made, sent = uploads
    assert token == {"token": "t"}
    assert made == {"create": NAME, "private": True, "exist_ok": True}
    assert sent["folder_path"] == str(stored)
    names = [f.name for f in stored.iterdir()]
    kept = huggingface_hub.utils.filter_repo_objects(names, allow_patterns=sent["allow_patterns"])
    assert set(kept) == {"README.md", "config.json", "model.safetensors"}


def test_its_options_are_those_of_the_mixin():
    ours = inspect.signature(BrainMass.push_to_hub).parameters
    theirs = inspect.signature(huggingface_hub.ModelHubMixin.push_to_hub).parameters
    assert set(ours) <= set(theirs)


def test_changed_weights_and_a_card_without_licence_are_not_published(stored, uploads, tmp_path):
    model = BrainMass.from_pretrained(stored)
    with torch.no_grad():
        model.cls_token += 1
    with pytest.raises(ModelError, match="other weights than this model"):
        model.push_to_hub(NAME)
    with pytest.raises(ModelError, match="not in a folder"):
        build("tiny", 6, seed=4, heads=3).push_to_hub(NAME)
    for card in ("# A model\n", CARD.replace("cc-by-4.0", "unknown"), "---\n: [\n---\n"):
        (stored / "README.md").write_text(card)
        with pytest.raises(ModelError, match="states no licence"):
            BrainMass.from_pretrained(stored).push_to_hub(NAME)
    assert uploads == []


def test_the_scores_of_a_tasks_card_are_results_that_huggingface_hub_reads():
    scores = {"fc_svm": {"auc": 0.7, "f1": 0.6, "auc_low": None}, "confounds_svm": {"auc": 0.5}}
    contract = SimpleNamespace(task="dx", method="fc_svm", classes=["a", "b"], scores=scores)
    data = huggingface_hub.ModelCard(front_matter(_about(contract)) + "# A model\n").data
    found = {r.metric_type: r.metric_value for r in data.eval_results}
    assert found == {"auc": 0.7, "f1": 0.6}
    assert {r.dataset_name for r in data.eval_results} == {"dx"}
    assert data.metrics == ["auc", "f1"]
    assert data.model_name == "dx-fc_svm"


def test_huggingface_hub_reads_the_front_matter_as_written():
    about = pretrained_card("brainmass", ["b", "a"], "functional-connectivity")
    data = huggingface_hub.ModelCard(front_matter(about) + "# A model\n").data
    assert data.license == "unknown"
    assert data.datasets == ["a", "b"]
    assert data.metrics == ["loss"]
    assert "functional-connectivity" in data.tags
    assert front_matter_of(front_matter(about)) == about
