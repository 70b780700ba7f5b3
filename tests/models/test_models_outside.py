"""A model from outside is read exactly as it was written, or refused with file and field."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file

from brainmass_core.encoders.brainlm.model import BrainLM
from brainmass_core.encoders.brainlm.vit import BrainLMViT
from brainmass_core.encoders.brainmass.model import BrainMass, build
from brainmass_core.models import pretrained
from brainmass_core.models.pretrained import SETTINGS, WEIGHTS, ModelError, read_settings, seal
from brainmass_core.models.weights import check_dense, read_checkpoint
from brainmass_core.predict.checksum import write_checksums

SERIES = {
    **dict.fromkeys(("width", "feedforward", "decoder_feedforward"), 16),
    **dict.fromkeys(("depth", "decoder_depth"), 1),
    **dict.fromkeys(("heads", "decoder_heads"), 2),
    "patch": 4,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("models")
    build("tiny", 6, seed=4, heads=3).save_pretrained(base / "a", {"atlas": "toy"})
    build("tiny", 6, seed=5, heads=3).save_pretrained(base / "b", {"atlas": "toy"})
    BrainLM(SERIES).save_pretrained(base / "lm")
    BrainLMViT(SERIES | {"decoder_width": 16}).save_pretrained(base / "vit")
    return base


@pytest.fixture
def folder(folders, tmp_path):
    shutil.copytree(folders / "a", tmp_path / "m")
    return tmp_path / "m"


# --- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [WEIGHTS, SETTINGS])
def test_a_flipped_bit_anywhere_is_refused(folder, name, monkeypatch):
    monkeypatch.setattr(BrainMass, "_checked", lambda folder, settings: "read")  # saves time
    file = folder / name
    whole = file.read_bytes()
    step = max(1, len(whole) // 200)
    for at in range(0, len(whole), step):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
        if name == SETTINGS and same_json(file.read_bytes(), whole):
            continue  # white space
        with pytest.raises(ModelError, match="m/"):
            BrainMass.from_pretrained(folder)
    file.write_bytes(whole)
    assert BrainMass.from_pretrained(folder) == "read"


def same_json(one: bytes, other: bytes) -> bool:
    try:
        return json.loads(one) == json.loads(other)
    except ValueError:
        return False


@pytest.mark.parametrize("name", [WEIGHTS, SETTINGS])
def test_a_file_cut_anywhere_is_refused_and_named(folder, name):
    whole = (folder / name).read_bytes()
    for i in range(16):
        (folder / name).write_bytes(whole[: i * len(whole) // 16])
        with pytest.raises(ModelError, match=name):
            BrainMass.from_pretrained(folder)


@pytest.mark.parametrize("name", [WEIGHTS, SETTINGS])
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda p: os.symlink("/dev/zero", p)])
def test_what_is_no_file_is_refused_and_named(folder, name, make):
    (folder / name).unlink()
    make(folder / name)
    with pytest.raises(ModelError, match=name):
        BrainMass.from_pretrained(folder)


@pytest.mark.parametrize("name", [WEIGHTS, SETTINGS])
def test_a_file_of_another_model_is_refused(folder, folders, name):
    settings = json.loads((folders / "b" / SETTINGS).read_text())
    assert settings["n_rois"] == json.loads((folder / SETTINGS).read_text())["n_rois"]
    shutil.copy(folders / "b" / name, folder / name)
    with pytest.raises(ModelError, match=rf"{WEIGHTS}: found sha256"):
        BrainMass.from_pretrained(folder)


def test_a_folder_without_checksums_is_refused_until_they_are_written(folder):
    settings = json.loads((folder / SETTINGS).read_text())
    old = {k: v for k, v in settings.items() if k not in ("checksum", pretrained.OF_WEIGHTS)}
    (folder / SETTINGS).write_text(json.dumps(old))
    with pytest.raises(ModelError, match=rf"no checksums.*brainmass checksum {folder}"):
        BrainMass.from_pretrained(folder)
    assert write_checksums(folder) == folder / SETTINGS
    assert read_settings(folder) == settings
    BrainMass.from_pretrained(folder)


def test_checksums_are_written_for_every_kind_of_model(folders):
    for name, kind in {"a": BrainMass, "lm": BrainLM, "vit": BrainLMViT}.items():
        write_checksums(folders / name)
        kind.from_pretrained(folders / name)


@pytest.mark.parametrize("make", [os.mkfifo, lambda p: p.symlink_to("/dev/zero"), os.mkdir])
def test_no_checksum_is_sought_of_what_has_no_end(folder, make):
    (folder / WEIGHTS).unlink()
    make(folder / WEIGHTS)
    with pytest.raises(ModelError, match=rf"m/{WEIGHTS}: is .*, expected a regular file"):
        seal(folder)


def test_a_tensor_that_is_there_twice_or_transposed_is_refused_and_a_link_is_followed(folder):
    name = "online.layers.0.linear1.weight"
    raw = (folder / WEIGHTS).read_bytes()
    tensors = {n: t.clone() for n, t in load_file(folder / WEIGHTS).items()}  # not of the file
    n = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + n])
    twice = {"cls_token": header[name]}
    text = raw[8 : 8 + n].decode().rstrip()[:-1] + "," + json.dumps(twice)[1:]
    text = text.ljust(-len(text) % 8 + len(text)).encode()
    (folder / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + n :])
    seal(folder)
    with pytest.raises(ModelError, match=f"{WEIGHTS}: not a complete safetensors file"):
        BrainMass.from_pretrained(folder)
    save_file(tensors | {name: tensors[name].T.contiguous()}, folder / WEIGHTS)
    seal(folder)
    with pytest.raises(ModelError, match=rf"{name} has the shape \(6, 256\), expected \(256, 6\)"):
        BrainMass.from_pretrained(folder)
    (folder.parent / "w").write_bytes(raw)  # as caches of Hugging Face are laid out
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to(folder.parent / "w")
    seal(folder)
    assert torch.equal(BrainMass.from_pretrained(folder).cls_token, tensors["cls_token"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model.safetensors.index.json", "weights in several files are not read"),
        ("model-00001-of-00002.safetensors", "weights in several files are not read"),
        ("pytorch_model.bin", "a file of torch; .* import-"),
        ("best_model.pth", "a file of torch; .* import-"),
        ("other.safetensors", "call it model.safetensors"),
    ],
)
def test_weights_in_another_form_are_named_with_what_to_do(folder, name, said):
    (folder / WEIGHTS).rename(folder / name)
    for read in (BrainMass.from_pretrained, write_checksums):
        with pytest.raises(ModelError, match=rf"{WEIGHTS}: no such file.*, but {name}.*{said}"):
            read(folder)


def test_one_reason_is_said_once_and_others_with_their_kinds(folder, tmp_path):
    with pytest.raises(ModelError) as caught:
        write_checksums(tmp_path / "nowhere")
    assert str(caught.value).count("config.json: no such file") == 1
    settings = json.loads((folder / SETTINGS).read_text())
    (folder / SETTINGS).write_text(json.dumps(settings | {"heads": 4}))
    with pytest.raises(
        ModelError, match=r"as BrainMass: .*; as BrainLM or BrainLMViT: .*"
    ) as found:
        write_checksums(folder)
    assert str(found.value).count(pretrained.REMEDY) == 1


def test_no_checksum_is_written_for_files_that_do_not_go_together(folder):
    settings = json.loads((folder / SETTINGS).read_text())
    (folder / SETTINGS).write_text(json.dumps(settings | {"n_rois": 8, "heads": 4}))
    with pytest.raises(ModelError, match=r"found no valid model.*has the shape"):
        write_checksums(folder)


# --- sizes ----------------------------------------------------------------------------------------

ABSURD = [-1, 0, 10**9, 10**30, True, 2.0, "6", None, [6], {"a": 1}, float("nan"), float("inf")]


@pytest.fixture
def no_memory(monkeypatch):
    """Fails if a model with values is built."""
    real = torch.empty

    def watched(*size, **options):
        made = real(*size, **options)
        assert made.is_meta or made.numel() < 10_000
        return made

    monkeypatch.setattr(torch, "empty", watched)


@pytest.mark.parametrize("value", ABSURD, ids=repr)
@pytest.mark.parametrize("field", ["n_rois", "heads"])
def test_a_size_that_the_tensors_do_not_show_is_refused_by_field(folder, no_memory, field, value):
    change(folder, {field: value})
    with pytest.raises(ModelError, match=rf"{SETTINGS}: {field}"):
        BrainMass.from_pretrained(folder)


@pytest.mark.parametrize("value", ["huge", 5, ["tiny"], {"depth": 3}], ids=repr)
def test_a_size_without_meaning_is_refused(folder, value):
    change(folder, {"size": value})
    with pytest.raises(ModelError, match=rf"{SETTINGS}: .*(size|depth)"):
        BrainMass.from_pretrained(folder)


def test_heads_that_do_not_divide_are_refused(folder):
    change(folder, {"heads": 4})
    with pytest.raises(ModelError, match="4 attention heads do not divide 6 ROIs"):
        BrainMass.from_pretrained(folder)


@pytest.mark.parametrize("value", [v for v in ABSURD if v not in (None,)], ids=repr)
@pytest.mark.parametrize("field", SERIES)
def test_a_size_of_a_brainlm_is_refused_by_field(folders, tmp_path, no_memory, field, value):
    shutil.copytree(folders / "lm", tmp_path / "lm")
    change(tmp_path / "lm", {"size": SERIES | {field: value}})
    with pytest.raises(ModelError, match=rf"{SETTINGS}: size: {field}"):
        BrainLM.from_pretrained(tmp_path / "lm")


@pytest.mark.parametrize(
    "settings",
    [{"size": SERIES | {"heads": 3}}, {"size": SERIES | {"more": 1}}, {"mode": "x"}, {"mode": 1}],
    ids=repr,
)
def test_settings_of_a_brainlm_that_do_not_go_together_are_refused(folders, tmp_path, settings):
    shutil.copytree(folders / "lm", tmp_path / "lm")
    change(tmp_path / "lm", settings)
    with pytest.raises(ModelError, match=rf"{SETTINGS}: "):
        BrainLM.from_pretrained(tmp_path / "lm")


def change(folder, settings) -> None:
    content = json.loads((folder / SETTINGS).read_text())
    (folder / SETTINGS).write_text(json.dumps(content | settings))
    seal(folder)


# --- tensors --------------------------------------------------------------------------------------

ODD = {
    "NaN": (lambda t: t * torch.nan, "infinite or not a number"),
    "infinite": (lambda t: t / 0, "infinite or not a number"),
    "complex": (lambda t: t.to(torch.complex64), "holds C64, expected F32"),
    "whole": (lambda t: t.to(torch.int32), "holds I32, expected F32"),
    "boolean": (lambda t: t > 0, "holds BOOL, expected F32"),
    "beyond float32": (lambda t: t.double() * 0 + 1e300, "infinite or not a number"),
    "flat": (lambda t: t.flatten().contiguous(), "has the shape"),
    "longer": (lambda t: torch.cat([t, t]), "has the shape"),
}


@pytest.mark.parametrize("kind", ODD)
def test_a_tensor_of_an_odd_kind_is_refused_by_name(folder, kind):
    harm, said = ODD[kind]
    name = "online.layers.0.linear1.weight"
    tensors = load_file(folder / WEIGHTS)
    save_file(tensors | {name: harm(tensors[name])}, folder / WEIGHTS)
    seal(folder)
    with pytest.raises(ModelError, match=rf"{WEIGHTS}: {name}.*{said}"):
        BrainMass.from_pretrained(folder)


def test_missing_and_unknown_tensors_are_named(folder):
    tensors = load_file(folder / WEIGHTS)
    tensors["stray"] = tensors.pop("cls_token")
    save_file(tensors, folder / WEIGHTS)
    seal(folder)
    with pytest.raises(ModelError, match=r"missing, such as cls_token; .*unknown, such as stray"):
        BrainMass.from_pretrained(folder)


def test_weights_in_half_precision_are_read(folder):
    tensors = load_file(folder / WEIGHTS)
    halves = {n: t.half() if t.is_floating_point() else t for n, t in tensors.items()}
    save_file(halves, folder / WEIGHTS)
    seal(folder)
    model = BrainMass.from_pretrained(folder)
    assert torch.equal(model.cls_token, halves["cls_token"].float())


@pytest.mark.parametrize("count", ["running_var", "num_batches_tracked"])
def test_a_negative_variance_or_count_is_refused_by_name(folder, count):
    name, tensors = f"online.projector.1.{count}", load_file(folder / WEIGHTS)
    save_file(tensors | {name: tensors[name] * 0 - 1}, folder / WEIGHTS)
    with pytest.raises(ModelError, match=rf"{name}: found -1, expected 0 or more"):
        seal(folder, BrainMass)


def test_another_width_of_the_embedding_than_the_sizes_have_is_refused(folder):
    change(folder, {"embedding_dim": 7})
    with pytest.raises(ModelError, match=rf"{SETTINGS}: embedding_dim: found 7, expected 48"):
        BrainMass.from_pretrained(folder)


HEADERS = {
    "length": ((2**63).to_bytes(8, "little"), "header too large"),
    "longer than the file": ((10**8 - 1).to_bytes(8, "little"), "invalid header length"),
    "product": (b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}', "o"),
    "absent": (b'{"a":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4000000000]}}', "co"),
    "deep": (b'{"a":' * 20_000, "recursion"),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_header_that_claims_too_much_is_refused(folder, no_memory, kind):
    content, said = HEADERS[kind]
    if len(content) != 8:
        content = len(content).to_bytes(8, "little") + content
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(ModelError, match=rf"{WEIGHTS}: not a complete safetensors file.*{said}"):
        seal(folder, BrainMass)


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\xff" * 100, b"\x00" * 100])
def test_weights_that_are_no_safetensors_are_refused(folder, content):
    (folder / WEIGHTS).write_bytes(content)
    seal(folder)
    with pytest.raises(ModelError, match=f"{WEIGHTS}: not a complete safetensors file"):
        BrainMass.from_pretrained(folder)


# --- checkpoints ----------------------------------------------------------------------------------


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_in_a_checkpoint_is_never_run(tmp_path):
    torch.save({"model": Attack(tmp_path / "attacked")}, tmp_path / "c.pt")
    with pytest.raises(ModelError, match=r"c\.pt: not a checkpoint that can be read safely"):
        read_checkpoint(tmp_path / "c.pt")
    assert not (tmp_path / "attacked").exists()


def test_a_damaged_checkpoint_is_refused_or_reads_the_same(tmp_path):
    path = tmp_path / "c.pt"
    state = {"step": 3, "w": torch.arange(400.0)}
    torch.save(state, path)
    whole, refused, n = path.read_bytes(), 0, 0
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
        n += 1
        try:
            found = read_checkpoint(path)
        except ModelError:
            refused += 1
        else:
            assert found["step"] == 3
            assert torch.equal(found["w"], state["w"])
    assert refused > n / 2
    for i in range(16):
        path.write_bytes(whole[: i * len(whole) // 16])
        with pytest.raises(ModelError, match=r"c\.pt"):
            read_checkpoint(path)


def test_a_compressed_checkpoint_is_refused_before_it_fills_memory(tmp_path, no_memory):
    torch.save({"w": torch.zeros(20_000_000)}, tmp_path / "c.pt")
    with (
        zipfile.ZipFile(tmp_path / "c.pt") as whole,
        zipfile.ZipFile(tmp_path / "small.pt", "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for name in whole.namelist():
            small.writestr(name, whole.read(name))
    assert (tmp_path / "small.pt").stat().st_size < 200_000
    with pytest.raises(ModelError, match=r"small\.pt: its parts are compressed"):
        read_checkpoint(tmp_path / "small.pt")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "it is empty"), (b"hello", "it holds other objects"), (pickle.dumps(Attack), "it hol")],
)
def test_nobody_is_advised_to_read_a_file_without_protection(tmp_path, content, said):
    (tmp_path / "c.pt").write_bytes(content)
    with pytest.raises(ModelError, match=said) as caught:
        read_checkpoint(tmp_path / "c.pt")
    assert "weights_only" not in str(caught.value)


def test_a_part_marked_as_a_folder_is_refused(tmp_path):
    """`torch.load` then returns uninitialised memory, whatever the checksums."""
    path = tmp_path / "c.pt"
    torch.save({"w": torch.arange(400.0)}, path)
    whole = bytearray(path.read_bytes())
    entry = whole.rindex(b"PK\x01\x02", 0, whole.rindex(b"/data/0"))
    whole[entry + 38] |= 0x10
    path.write_bytes(whole)
    with pytest.raises(ModelError, match=r"c\.pt: a part of it is marked as a folder"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (torch.zeros(1).expand(10**9), "more values than the file contains"),
        (torch.zeros(3, dtype=torch.complex64), "holds torch.complex64"),
        (torch.zeros(3, dtype=torch.int8), "holds torch.int8"),
        (torch.eye(3).to_sparse(), "sparse"),
        (torch.full((3,), torch.nan), "infinite or not a number"),
        ([1.0, 2.0], "found list, expected tensors"),
    ],
    ids=["repeated", "complex", "whole", "sparse", "NaN", "list"],
)
def test_odd_tensors_of_a_checkpoint_are_refused_by_name(tensor, said):
    with pytest.raises(ModelError, match=f"c: w: .*{said}|c: w {said}"):
        check_dense("c", {"w": tensor}, {"w"})
