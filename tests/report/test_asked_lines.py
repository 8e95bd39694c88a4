from __future__ import annotations

import dataclasses

from cti_edits.artifact.manifest import Edit, load
from cti_edits.report.asked_lines import MOST_MATRICES, asked, changed_matrices, origin
from tests.conftest import ROOT
from tests.support.edits import BASE, EDIT_1, EDIT_2, directions, entry


def test_what_was_asked_of_a_manifest_that_has_every_field() -> None:
    facts = dict(asked(load(EDIT_2 / "every_field.json")))
    assert facts["base model"] == "example/tiny-llama"
    assert facts["class"] == "LlamaForCausalLM, bfloat16"
    assert facts["calibration rows"] == "400, seed 0"
    assert facts["gradient rows"] == "100"
    assert facts["row blocks K"] == "1, 2, 4"
    assert facts["shares ρ of the rank"] == "0.9, 0.25, 0.05"
    assert facts["numbers N of directions"] == "64, 256"
    assert facts["shares f of the loss"] == "0.1, 0.3, 1"
    assert facts["epochs"] == "4"


def test_what_is_not_there_is_not_said() -> None:
    facts = dict(asked(Edit("one", "", dataclasses.replace(BASE, revision=None, dtype=None), (entry(),))))
    assert facts == {"base model": "tests/tiny", "class": "LlamaForCausalLM"}


def test_the_prompt_stands_where_it_is_more_than_the_task_s_own() -> None:
    edit = load(EDIT_1 / "asked.json")
    assert edit.search is not None
    assert edit.search.asked is not None
    prompt = dataclasses.replace(edit.search.asked.prompt, num_fewshot=3, system_instruction="Be\nkind")
    search = dataclasses.replace(edit.search, asked=dataclasses.replace(edit.search.asked, prompt=prompt))
    facts = dict(asked(dataclasses.replace(edit, search=search)))
    assert (facts["num fewshot"], facts["system instruction"]) == ("3", "Be\nkind")


def test_how_the_winner_was_chosen_beyond_the_usual() -> None:
    edit = load(EDIT_1 / "asked.json")
    assert edit.search is not None
    search = dataclasses.replace(edit.search, confirm=3, max_kl=0.05)
    facts = dict(asked(dataclasses.replace(edit, search=search)))
    assert facts["compared again"] == "the best 3, on fresh rows"
    assert facts["limit on other text"] == "KL 0.05 nats a token"


def test_a_row_for_each_matrix_until_there_are_too_many() -> None:
    edits = (*(entry(layer=layer) for layer in range(MOST_MATRICES)), directions(layer=500))
    table = changed_matrices(Edit("many", "", BASE, edits))
    assert len(table.rows) == MOST_MATRICES
    assert table.caption.endswith(f"the first {MOST_MATRICES} of {MOST_MATRICES + 1}")
    one = changed_matrices(Edit("one", "", BASE, (directions(layer=5),)))
    assert one.rows == (("U_in", "5", "directions", one.rows[0][3], "48 × 32", "no hash"),)
    assert one.numbers == ("layer",)


def test_the_origin_names_digest_tool_and_versions() -> None:
    edit = load(ROOT / "edits" / "gptj_fever.json")
    facts = dict(origin(edit))
    assert facts["digest"] == edit.digest()
    assert facts["source"] == edit.provenance.source
    assert facts["made by"] == edit.provenance.tool
