"""A contract is read as it was written, or refused."""

from __future__ import annotations

import json

import pytest
from test_predict_contract import a_contract

from brainmass_core.predict.checksum import write_checksums
from brainmass_core.predict.contract import FILE, ContractError, read_contract, write_contract
from brainmass_core.predict.serialization import SerializationError, decode


@pytest.fixture
def folder(tmp_path):
    write_contract(tmp_path, a_contract())
    return tmp_path


def test_a_flipped_bit_in_a_contract_is_refused_or_white_space(folder):
    whole = (folder / FILE).read_bytes()
    content = json.loads(whole)
    for at in range(0, len(whole), max(1, len(whole) // 300)):
        harmed = whole[:at] + bytes([whole[at] ^ 2]) + whole[at + 1 :]
        (folder / FILE).write_bytes(harmed)
        try:
            read_contract(folder)
        except ContractError:
            continue
        assert json.loads(harmed) == content


def test_a_contract_cut_anywhere_is_refused(folder):
    whole = (folder / FILE).read_bytes()
    for i in range(16):
        (folder / FILE).write_bytes(whole[: i * len(whole) // 16])
        with pytest.raises(ContractError, match=FILE):
            read_contract(folder)


def test_a_contract_of_an_older_version_is_refused_until_its_checksum_is_written(folder):
    content = json.loads((folder / FILE).read_text())
    del content["checksum"]
    (folder / FILE).write_text(json.dumps(content))
    with pytest.raises(ContractError, match=rf"no checksum.*brainmass checksum {folder}"):
        read_contract(folder)
    write_checksums(folder)
    assert read_contract(folder) == a_contract()


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format": 1, "format": 2}', "[]", "\ufeff"])
def test_what_is_no_json_object_is_no_contract(folder, text):
    (folder / FILE).write_text(text)
    with pytest.raises(ContractError, match=FILE):
        read_contract(folder)


@pytest.mark.parametrize("n", [10**9, -5, 10**30])
def test_a_network_of_absurd_size_is_refused_before_it_is_built(n):
    node = {
        "class": "NetworkClassifier",
        "state": {"n_features_in_": n, "classes_": [0, 1]},
        "recipe": {"name": "BrainNetCNN"},
        "weights": "w.",
    }
    with pytest.raises(SerializationError, match="network"):
        decode(node, {})
