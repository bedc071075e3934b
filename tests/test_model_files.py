"""Files of frozen models: fingerprints, round trips, and files that cannot lie."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from models.description import ModelDescription
from models.frozen_net import FrozenNet
from models.model_file import FORMAT, is_model_file, model_from_bytes, model_to_bytes, read_model
from models.store import SHIPPED, SHIPPED_FILES
from tests.frozen_cases import MODELS, changed_layer, naive, random_inputs
from tests.helpers import flips, random_frozen
from utils.errors import ModelError


def test_fingerprints_are_the_recorded_ones(recorded):
    """A change here makes every existing file undecodable."""
    for name, model in MODELS.items():
        recorded(f"fingerprint of {name}", model.fingerprint.hex())
        assert model.fingerprint.hex().startswith(model.name)


def test_the_fingerprint_changes_with_anything_that_changes_the_function():
    model = MODELS["west"]
    seen = {model.fingerprint}
    for number, layer in enumerate(model.layers):
        for part in ("weight", "bias", "shift"):
            array = getattr(layer, part)
            for position in np.ndindex(array.shape):
                changed = array.copy()
                changed[position] ^= 1
                seen.add(changed_layer(model, number, **{part: changed}).fingerprint)
    size = sum(layer.weight.size + 2 * layer.bias.size for layer in model.layers)
    assert len(seen) == size + 1
    seen.add(replace(model, limit=model.limit + 1).fingerprint)
    for change in ({"padding": "zero"}, {"scales": "clamped"}, {"taps": model.description.taps[::-1]}):
        seen.add(replace(model, description=replace(model.description, **change)).fingerprint)
    assert len(seen) == size + 5


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_models_survive_their_files(model, tmp_path):
    data = model_to_bytes(model, {"provenance": "a test", "limit": "a note cannot replace a field"})
    assert is_model_file(data)
    again, notes = model_from_bytes(data, "name")
    assert again.fingerprint == model.fingerprint
    assert again.description == model.description
    assert notes == {"provenance": "a test"}
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    inputs = torch.from_numpy(random_inputs(model, 10))
    assert torch.equal(FrozenNet(read_model(path))(inputs), FrozenNet(model)(inputs))


@pytest.mark.parametrize("name", sorted({name for names in SHIPPED_FILES.values() for name in names}))
def test_the_shipped_weights_are_models(name):
    model = read_model(SHIPPED / name)
    assert model.description.parameters <= 58_916
    assert model.description.channels == (1 if "gray" in name else 3)


SMALL = random_frozen(ModelDescription(taps=((0, -1),), widths=(2,), channels=1, mixtures=1))
SMALL_FILE = model_to_bytes(SMALL)


def accept_only_as_it_is(data: bytes) -> None:
    """ModelError, or a model that is consistent and can be run."""
    try:
        model, _ = model_from_bytes(data, "damaged")
    except ModelError as error:
        assert "\n" not in str(error)  # noqa: PT017 - what is accepted is checked as well
        return
    inputs = random_inputs(model, 5)
    np.testing.assert_array_equal(FrozenNet(model)(torch.from_numpy(inputs)).numpy(), naive(model, inputs))


def test_every_truncation_of_a_model_file_is_a_model_error():
    for length in range(len(SMALL_FILE)):
        with pytest.raises(ModelError):
            model_from_bytes(SMALL_FILE[:length], "truncated")
    with pytest.raises(ModelError):
        model_from_bytes(SMALL_FILE + b"\0", "longer")


def test_every_flipped_byte_of_a_model_file_is_an_error_or_another_model():
    for _, data in flips(SMALL_FILE, range(len(SMALL_FILE)), (0x01, 0x10, 0x80)):
        accept_only_as_it_is(data)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(lambda rest: SMALL_FILE[:200] + rest)))
@example(b"\x08" + bytes(7) + b'{"a":1}}')
def test_other_bytes_are_model_errors(data):
    accept_only_as_it_is(data)


@pytest.mark.parametrize("header", [b"[" * 100_000, b'{"a":' + b"[" * 100_000, b'{"__metadata__":' * 100_000])
def test_headers_that_nest_deeply_are_model_errors(header):
    with pytest.raises(ModelError):
        model_from_bytes(len(header).to_bytes(8, "little") + header, "nested")


TENSORS = load(SMALL_FILE)
DESCRIPTION = SMALL.description.to_json()


def description_with(**changes) -> str:
    return json.dumps({**json.loads(DESCRIPTION), **changes})


@pytest.mark.parametrize(
    "metadata",
    [
        {"format": "p59 frozen 2"}, {"limit": "x"}, {"limit": "-3"}, {"limit": "1e3"}, {"limit": "9" * 5000},
        {"limit": ""}, {"description": "["}, {"description": "{}"}, {"description": "null"},
        {"description": "[" * 100_000}, {"description": description_with(widths=[3])},
        {"description": description_with(widths=[10**9])}, {"description": description_with(widths=[2.0])},
        {"description": description_with(widths=2)}, {"description": description_with(channels=1.0)},
        {"description": description_with(mixtures=1.0)}, {"description": description_with(channels="1")},
        {"description": description_with(taps=[[0, -1, 3]])}, {"description": description_with(taps=[[0, "-1"]])},
        {"description": description_with(taps=[[0, 10**30]])}, {"description": description_with(taps=None)},
        {"description": description_with(unknown=1)}, {"description": description_with(padding=["edge"])},
        {"description": description_with(reference={})}, {"description": description_with(residual="no")},
    ],
    ids=lambda metadata: str(metadata)[:60],
)  # fmt: skip
def test_lying_metadata_is_a_model_error(metadata):
    whole = {"format": FORMAT, "description": DESCRIPTION, "limit": str(SMALL.limit), **metadata}
    with pytest.raises(ModelError) as caught:
        model_from_bytes(save(TENSORS, whole), "lying")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_lying_tensors_are_model_errors():
    whole = {"format": FORMAT, "description": DESCRIPTION, "limit": str(SMALL.limit)}
    for name, tensor in TENSORS.items():
        without = {key: value for key, value in TENSORS.items() if key != name}
        others = [
            tensor.astype(np.float32),
            tensor.astype(np.int64),
            tensor[None],
            tensor[:0],
            np.zeros((), tensor.dtype),
        ]
        for tensors in (without, *({**TENSORS, name: np.array(other, order="C")} for other in others)):
            with pytest.raises(ModelError):
                model_from_bytes(save(tensors, whole), "lying")
    with pytest.raises(ModelError, match="no frozen P59 model"):
        model_from_bytes(save(TENSORS), "no metadata")


def test_missing_and_unreadable_model_files(tmp_path):
    for path in (tmp_path / "absent.safetensors", tmp_path, tmp_path / "absent" / "model"):
        with pytest.raises(ModelError, match="checkpoint_file"):
            read_model(path)
