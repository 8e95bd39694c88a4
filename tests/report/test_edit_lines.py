"""An edit in words, as ``cti-edits show`` prints it."""

from __future__ import annotations

from pathlib import Path

from cti_edits.artifact.manifest import Edit, load
from cti_edits.report.edit_lines import manifest_lines, model_lines, wrapped
from studies.tiny import TINY
from studies.tiny.tokenizer import save_checkpoint as save_model
from tests.support.edits import EDIT_1, EDIT_2, directions, edit, edit_of, entry, full, full_2
from tests.support.tiny_models import save_checkpoint, tiny_model


def shown(edit: Edit) -> list[str]:
    return [wrapped(key, str(value), None) for key, value in manifest_lines(edit)]


def every_field() -> Edit:
    return load(EDIT_1 / "every_field.json")


def test_show_tells_what_is_cut_and_what_is_kept() -> None:
    lines = shown(every_field())
    start = lines.index("edit of U_in, layer 0")
    assert [line.split(maxsplit=1) for line in lines[start + 1 : start + 6]] == [
        ["module", "model.layers.0.mlp.gate_proj"],
        ["shape", "50 rows x 32 columns"],
        ["rho", "0.25"],
        ["K", "4 row blocks"],
        ["ranks", "kept   4 x 3 of 2 x 13 + 2 x 12"],
    ]
    # Factors of rank 3: 3·(13 + 32)·2 + 3·(12 + 32)·2 = 534 numbers of 1600.
    assert [line[2:].split(maxsplit=1) for line in lines[start + 6 : start + 13]] == [
        ["parameters", "33.4 % kept with factorize=true, 534 of 1,600"],
        ["memory", "1,068 of 3,200 bytes in bfloat16"],
        ["energy", "50 to 100 % of each block's squared norm is retained"],
        ["tie", "singular values tie at the cut of blocks 1, 3: the truncation is not unique"],
        ["base", f"hash    {full()['edits'][0]['sha256']}"],
        ["of", "layers.0.mlp.gate_proj.weight, F32"],
        ["factors", "two-matrices.safetensors, 4,096 bytes"],
    ]
    assert "edit of U_out, layer 2" in lines
    assert f"digest         {load(EDIT_1 / 'every_field.json').digest()}" in lines


def test_show_tells_the_largest_changes_of_directions() -> None:
    lines = shown(load(EDIT_2 / "every_field.json"))
    start = lines.index("edit of U_out, layer 2")
    assert lines[start + 1 : start + 14] == [
        "  module       model.layers.2.mlp.down_proj",
        "  shape        32 rows x 50 columns",
        "  method       directions",
        "  directions   4 of 32",
        "  scale        -2.25 to 1.5",
        "  largest      sigma 4: 1.5 times -2.25",
        "               sigma 0: 4.75 times 1.5",
        "               sigma 3: 1.5 times 0",
        "               sigma 31: 0 times 1",
        "  parameters   328 beside 1,600 with factorize=true",
        "  memory       656 beside 3,200 bytes in bfloat16",
        f"  base hash    {full_2()['edits'][1]['sha256']}",
        "  of           layers.2.mlp.down_proj.weight, BF16",
    ]
    start = lines.index("edit of U_up, layer 1")
    assert lines[start + 4 : start + 7] == [
        "  directions   4 of 50 in 4 row blocks",
        "  scale        0.001 to 3",
        "  largest      sigma 0 of block 3: 2.5 times 0.001",
    ]
    start = lines.index("edit of W_o, layer 1")
    assert lines[start + 3 : start + 5] == [
        "  method       add-rank-one",
        "  base hash    ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
    ]


def test_of_many_directions_the_largest_changes_are_shown_and_the_rest_is_counted() -> None:
    """A large factor of a small value may change less than a small one of a large value."""
    count = 19
    one = directions(
        index=tuple(range(count)),
        scale=tuple(1 + 2.0**number for number in range(count)),
        sigma=tuple(3.0**-number for number in range(count)),
    )
    lines = shown(edit("many", one))
    start = lines.index("  largest      sigma 0: 1 times 2")
    assert lines[start + 1 : start + 6] == [
        "               sigma 1: 0.33333 times 3",
        "               sigma 2: 0.11111 times 5",
        "               sigma 3: 0.037037 times 9",
        "               sigma 4: 0.012346 times 17",
        "               and 14 smaller changes",
    ]


def test_show_says_when_the_base_is_not_verified() -> None:
    lines = shown(load(EDIT_1 / "one_matrix.json"))
    assert "  base hash    none: base not verified" in lines
    assert "  ranks kept   4 x 102 of 4 x 1024" in lines


def test_show_names_an_empty_edit() -> None:
    lines = shown(load(EDIT_1 / "empty.json"))
    assert "edits          none: the base model as it is" in lines


def test_accuracies_stand_beside_their_intervals_and_the_majority_class() -> None:
    lines = shown(every_field())
    start = lines.index("calibration: 100 examples; intervals are of 95 %")
    # Wilson intervals of 51 and of 57 of 100.
    assert lines[start + 1 : start + 7] == [
        "  base model   51.0 % (41.3 to 60.6 %)",
        "  edited       57.0 % (47.2 to 66.3 %)",
        "  majority     55.0 % by always giving the most frequent answer",
        "  difference   +6.0 points (-1.0 to +13.0), exact McNemar p = 0.109",
        "  NLL base     0.7500",
        "  NLL edited   0.7000",
    ]
    assert lines.index("test part: 10000 examples; intervals are of 95 %") < start
    assert "  mind         these rows chose the edit, and their figures flatter it" in lines


def test_reported_figures_are_marked_as_not_measured() -> None:
    lines = shown(load(EDIT_1 / "one_matrix.json"))
    start = lines.index("reported, not measured here")
    assert lines[start + 1].split(maxsplit=1) == ["source", "arXiv:2510.20800 table 7"]
    assert lines[start + 2].startswith("  base model   50.2 % (no interval")
    assert lines[start + 3].startswith("  edited       56.2 % (no interval")
    assert lines[start + 4].split(maxsplit=1) == ["majority", "share of the most frequent answer not given"]


def test_equal_ranks_stand_together() -> None:
    for ranks, text in (((5,), "5"), ((3, 3, 2), "2 x 3 + 1 x 2"), ((1, 2, 1), "1 x 1 + 1 x 2 + 1 x 1")):
        one = entry(shape=(48, 32), clusters=len(ranks), block_ranks=ranks)
        (line,) = (line for line in shown(edit("one", one)) if line.startswith("  ranks kept"))
        assert line.split("kept   ")[1].startswith(f"{text} of ")


def test_a_line_is_broken_at_blanks_below_its_value() -> None:
    lines = wrapped("description", "well-known words " * 10, 60).splitlines()
    assert len(lines) > 2
    assert max(map(len, lines)) <= 60
    assert all(line.startswith(" " * 15 + "w") for line in lines[1:])
    assert wrapped("name", "short", 60) == "name           short"
    # A terminal of almost no width still shows all of it.
    assert "".join(wrapped("k", "abc def", 1).split()) == "kabcdef"


def test_a_heading_has_no_value() -> None:
    assert wrapped("a heading", "", 80) == "a heading"
    assert wrapped("", "", None) == ""


def test_a_block_that_stands_for_all_is_shown_with_the_model(tmp_path: Path) -> None:
    model = TINY["albert"].build()
    save_model(tmp_path, model, masked=True)
    lines = dict(model_lines(edit_of(model, ("U_in", 0, 2, 0.1), base_id=str(tmp_path)), str(tmp_path), False))
    assert lines["  layers"] == "1 block stands for all 3 layers: an edit of it edits all"


def test_the_model_is_shown_where_it_is_asked_for(tmp_path: Path) -> None:
    model = tiny_model("gpt2")
    save_checkpoint(tmp_path, "gpt2", model)
    found = edit_of(model, ("U_in", 1, 2, 0.1), base_id=str(tmp_path))
    assert list(model_lines(found, None, False)) == []
    lines = dict(model_lines(found, str(tmp_path), False))
    numbers = sum(parameter.numel() for parameter in model.parameters())
    kept = numbers - (48 * 32 - 2 * 2 * (24 + 32))
    assert "  layers" not in lines
    assert f"model {tmp_path}" in lines
    assert lines["  memory"] == f"{4 * kept:,} of {4 * numbers:,} bytes as stored"
    assert str(lines["  parameters"]).endswith(f"{kept:,} of {numbers:,}")
