"""What a layer and a model cost with an edit run as factors."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from cti_edits.artifact.ranks import block_ranks
from cti_edits.errors import EditError, FitError
from cti_edits.models.checkpoint import open_checkpoint
from cti_edits.models.footprint import Size, layer_seconds, layer_size, median_seconds, model_seconds, model_size
from tests.support.edits import directions, directions_of, edit_of, edit_with, entry
from tests.support.tiny_models import save_checkpoint, tiny_model


def test_the_numbers_of_a_layer_by_hand() -> None:
    one = entry(shape=(48, 32), clusters=2, rho=0.1, block_ranks=block_ranks((48, 32), 2, 0.1))
    # Two blocks of 24 x 32 at rank 2.
    assert layer_size(one) == Size(2 * 2 * (24 + 32), 48 * 32)
    assert layer_size(one).share == pytest.approx(224 / 1536)


def test_a_block_that_gains_nothing_by_factors_counts_as_it_is() -> None:
    # Rank 20 of 24 x 32 would take 1,120 numbers in the place of 768.
    one = entry(shape=(48, 32), clusters=2, block_ranks=(20, 2))
    assert layer_size(one).factored == 24 * 32 + 2 * (24 + 32)


def test_factors_beside_a_matrix_are_counted_on_top_of_it(tmp_path: Path) -> None:
    model = tiny_model("gpt2").half()
    save_checkpoint(tmp_path, "gpt2", model)
    one = directions_of(model, "U_in", 1, {(0, 0): 2.0, (0, 5): 0.5})
    assert layer_size(one) == Size(48 * 32 + 2 * (48 + 32), 48 * 32)
    assert layer_size(one).share == pytest.approx(1696 / 1536)
    numbers = sum(parameter.numel() for parameter in model.parameters())
    edit = edit_with(model, one, base_id=str(tmp_path))
    parameters, stored = model_size(edit, open_checkpoint(str(tmp_path)))
    assert parameters == Size(numbers + 160, numbers)
    assert stored == Size(2 * (numbers + 160), 2 * numbers)


def test_a_model_is_smaller_by_what_its_layers_save(tmp_path: Path) -> None:
    model = tiny_model("gpt2").half()
    save_checkpoint(tmp_path, "gpt2", model)
    edit = edit_of(model, ("U_in", 1, 2, 0.1), ("W_o", 0, 1, 0.1), base_id=str(tmp_path))
    numbers = sum(parameter.numel() for parameter in model.parameters())
    saved = (48 * 32 - 2 * 2 * (24 + 32)) + (32 * 32 - 3 * 64)
    parameters, stored = model_size(edit, open_checkpoint(str(tmp_path)))
    assert parameters == Size(numbers - saved, numbers)
    assert stored == Size(2 * (numbers - saved), 2 * numbers)
    elsewhere = dataclasses.replace(edit.edits[0], layer=9, module="transformer.h.9.mlp.c_fc")
    with pytest.raises(FitError, match=r"layer: expected 0 to 2 \(the model has 3 layers\), got 9"):
        model_size(dataclasses.replace(edit, edits=(elsewhere,)), open_checkpoint(str(tmp_path)))


def test_the_median_is_of_runs_in_turn_after_one_that_does_not_count() -> None:
    calls: list[str] = []
    found = median_seconds((lambda: calls.append("a"), lambda: calls.append("b")), least_runs=3, seconds=0.0)
    assert calls == ["a", "b"] * 4
    assert len(found) == 2
    assert all(seconds >= 0 for seconds in found)


def test_a_layer_is_timed_only_where_it_has_factors(monkeypatch: pytest.MonkeyPatch) -> None:
    import cti_edits.models.footprint as footprint

    def once(passes: object) -> list[float]:
        return [1.0, 2.0]

    assert layer_seconds(entry(block_ranks=(24, 24))) == ()
    monkeypatch.setattr(footprint, "median_seconds", once)
    found = layer_seconds(entry(block_ranks=(2, 24)))
    assert [(one.tokens, one.factored, one.dense) for one in found] == [(1, 1.0, 2.0), (64, 1.0, 2.0)]
    # Factors beside the matrix, of random numbers of the right shapes.
    for one in (directions(), directions(clusters=5, block=(0, 4))):
        assert [row.tokens for row in layer_seconds(one, "bfloat16")] == [1, 64]


def test_a_model_that_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    edit = edit_of(tiny_model("gpt2"), ("U_in", 1, 2, 0.1))
    with pytest.raises(EditError, match="cannot load the model") as caught:
        model_seconds(edit, str(tmp_path / "nowhere"))
    assert str(caught.value).isprintable()
    nameless = dataclasses.replace(edit, base_model=dataclasses.replace(edit.base_model, architecture="NoSuchClass"))
    with pytest.raises(EditError, match="cannot load the model"):
        model_seconds(nameless, str(tmp_path))
    assert torch.is_grad_enabled()
