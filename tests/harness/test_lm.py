from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from cti_edits.artifact.manifest import Edit
from cti_edits.errors import BaseMismatchError, EditError, FitError
from cti_edits.harness.lm import EditedLM, load_base, read_base
from cti_edits.linalg.lowrank import truncate
from cti_edits.models.apply import apply, target_matrix
from cti_edits.paths import folder
from studies.tiny import TINY
from studies.tiny.tokenizer import save_checkpoint as save_model
from tests.conftest import Run
from tests.support.edits import cuts, directions_of, edit_of, edit_with, plugin_edit
from tests.support.tiny_models import byte_tokenizer, save_checkpoint, tiny_model

PLACES = (("U_in", 1, 4, 0.2), ("U_out", 2, 1, 0.1))


def evaluate(model: str, limit: int = 12, use_cache: str | None = None, **model_args: Any) -> Any:
    """Plain lm-eval on the bundled task, on the CPU."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    return simple_evaluate(
        model=model,
        model_args=model_args,
        tasks=["cti_capitals"],
        task_manager=TaskManager(include_path=str(folder("tasks")), include_defaults=False),
        limit=limit,
        device="cpu",
        bootstrap_iters=0,
        use_cache=use_cache,
    )


def scores(results: Any) -> list[Any]:
    return [sample["resps"] for sample in results["samples"]["cti_capitals"]]


def write(edit: Edit, path: Path) -> str:
    return str(edit.write(path))


@pytest.fixture(scope="module")
def hf_scores(llama: Path) -> list[Any]:
    return scores(evaluate("hf", pretrained=str(llama)))


def test_an_empty_edit_and_no_edit_score_as_hf_bit_for_bit(llama: Path, hf_scores: list[Any], tmp_path: Path) -> None:
    empty = write(edit_of(tiny_model("llama"), base_id=str(llama)), tmp_path / "empty.json")
    assert scores(evaluate("cti", edit=empty)) == hf_scores
    assert scores(evaluate("cti", pretrained=str(llama))) == hf_scores


@pytest.mark.parametrize("model_type", ["llama", "gpt2"])
def test_an_edit_applied_by_hand_and_saved_scores_the_same_with_hf(model_type: str, tmp_path: Path) -> None:
    base = save_checkpoint(tmp_path / "base", model_type)
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    edit = edit_of(model, *PLACES, base_id=str(base))
    for one in cuts(edit):
        weight = model.get_parameter(f"{one.module}.weight").data
        # Conv1D keeps the transpose.
        weight = weight.T if model_type == "gpt2" else weight
        weight.copy_(truncate(weight.clone(), one.block_ranks))
    save_checkpoint(tmp_path / "edited", model_type, model)
    by_hand = scores(evaluate("hf", pretrained=str(tmp_path / "edited")))
    through_us = scores(evaluate("cti", edit=write(edit, tmp_path / "edit.json")))
    assert through_us == by_hand
    assert through_us != scores(evaluate("hf", pretrained=str(base)))


def test_pretrained_overrides_the_manifest(llama: Path, tmp_path: Path) -> None:
    edit = edit_of(tiny_model("llama"), *PLACES, base_id="nobody/nowhere")
    path = write(edit, tmp_path / "edit.json")
    lm = EditedLM(edit=path, pretrained=str(llama))
    assert lm.applied_edit is not None
    assert lm.applied_edit.verified
    with pytest.raises(EditError, match="cannot load the model 'nobody/nowhere'"):
        EditedLM(edit=path)


def test_other_arguments_reach_hflm(llama: Path, tmp_path: Path) -> None:
    path = write(edit_of(tiny_model("llama"), *PLACES, base_id=str(llama)), tmp_path / "edit.json")
    lm = EditedLM(edit=path, max_length=77, batch_size=3, add_bos_token=True)
    assert (lm.max_length, lm.batch_size, lm.add_bos_token) == (77, 3, True)


def test_dtype_is_the_manifests_unless_given(llama: Path, tmp_path: Path) -> None:
    half = tiny_model("llama").to(torch.bfloat16)
    path = write(edit_of(half, *PLACES, base_id=str(llama)), tmp_path / "half.json")
    lm = EditedLM(edit=path)
    assert lm.model.dtype == torch.bfloat16
    assert lm.applied_edit is not None
    assert lm.applied_edit.verified
    # float32 holds more than the edit's hash covers, so that this base could be another one.
    with pytest.raises(BaseMismatchError, match="made for dtype=bfloat16, which does not hold"):
        EditedLM(edit=path, dtype="float32")
    assert EditedLM(edit=path, dtype="float32", verify=False).model.dtype == torch.float32


def test_the_results_name_edit_digest_and_base(llama: Path, tmp_path: Path) -> None:
    edit = edit_of(tiny_model("llama"), *PLACES, base_id=str(llama), name="tiny-capitals")
    config = evaluate("cti", limit=2, edit=write(edit, tmp_path / "edit.json"))["config"]
    assert config["edit"] == {
        "name": "tiny-capitals",
        "digest": edit.digest(),
        "base_model": str(llama),
        "base_model_revision": None,
        "applied_to": str(llama),
        "verified": True,
        "factorize": False,
        "factorized": [],
    }
    assert evaluate("cti", limit=2, pretrained=str(llama))["config"]["edit"] is None


def test_another_base_is_refused_and_the_override_is_recorded(llama: Path, tmp_path: Path) -> None:
    path = write(edit_of(tiny_model("llama", seed=1), *PLACES, base_id=str(llama)), tmp_path / "edit.json")
    with pytest.raises(BaseMismatchError, match=r"edits\[0\]\.sha256: model\.layers\.1\.mlp\.gate_proj\.weight"):
        EditedLM(edit=path)
    assert evaluate("cti", limit=2, edit=path, verify=False)["config"]["edit"]["verified"] is False


def test_the_edit_applies_under_a_peft_adapter(llama: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    adapter = get_peft_model(tiny_model("llama"), LoraConfig(target_modules=["q_proj"], r=2))
    adapter.save_pretrained(str(tmp_path / "adapter"))
    path = write(edit_of(tiny_model("llama"), *PLACES, base_id=str(llama)), tmp_path / "edit.json")
    lm = EditedLM(edit=path, peft=str(tmp_path / "adapter"))
    plain = tiny_model("llama")
    expected = truncate(target_matrix(plain, "U_in", 1).weight, lm.edit.edits[0].block_ranks)  # type: ignore[union-attr]
    assert torch.equal(target_matrix(lm.model.get_base_model(), "U_in", 1).weight, expected)


def test_base_and_edit_do_not_share_cached_responses(llama: Path, hf_scores: list[Any], tmp_path: Path) -> None:
    edit = edit_of(tiny_model("llama"), *PLACES, base_id=str(llama))
    other = edit_of(tiny_model("llama"), PLACES[0], base_id=str(llama))
    cache = str(tmp_path / "cache")
    uncached = scores(evaluate("cti", edit=edit))
    for _ in range(2):
        assert scores(evaluate("cti", edit=edit, use_cache=cache)) == uncached
        assert scores(evaluate("hf", pretrained=str(llama), use_cache=cache)) == hf_scores
        assert scores(evaluate("cti", pretrained=str(llama), use_cache=cache)) == hf_scores
        assert scores(evaluate("cti", edit=other, use_cache=cache)) not in (uncached, hf_scores)


def test_an_edited_model_answers_from_its_cache(llama: Path, tmp_path: Path) -> None:
    edit = edit_of(tiny_model("llama"), *PLACES, base_id=str(llama))
    first = scores(evaluate("cti", edit=edit, use_cache=str(tmp_path / "cache")))

    class Unasked(EditedLM):
        def loglikelihood(self, *_: Any, **__: Any) -> Any:
            raise AssertionError("asked again")

    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    again = simple_evaluate(
        model=Unasked(edit=edit),
        tasks=["cti_capitals"],
        task_manager=TaskManager(include_path=str(folder("tasks")), include_defaults=False),
        limit=12,
        bootstrap_iters=0,
        use_cache=str(tmp_path / "cache"),
    )
    assert scores(again) == first


def test_a_masked_model_is_not_loaded_as_a_causal_one(tmp_path: Path) -> None:
    base = save_checkpoint(tmp_path / "roberta", "roberta")
    with pytest.raises(EditError, match="masked language model"):
        EditedLM(pretrained=str(base))


def test_neither_edit_nor_model(tmp_path: Path) -> None:
    with pytest.raises(EditError, match="expected edit=FILE, pretrained=MODEL or both"):
        EditedLM()
    with pytest.raises(EditError, match="verify: expected true or false, got 'maybe'"):
        EditedLM(edit="x.json", pretrained="y", verify="maybe")


def _damaged(llama: Path, tmp_path: Path, what: str) -> dict[str, Any]:
    """Model arguments that are wrong in one way."""
    model = tiny_model("llama")
    edit = edit_of(model, ("U_in", 1, 4, 0.2), base_id=str(llama))
    document = json.loads(json.dumps(edit.to_json()))
    one = document["edits"][0]
    path = tmp_path / "wrong.json"
    text = None
    if what == "no such file":
        return {"edit": str(tmp_path / "missing.json")}
    if what == "not JSON":
        text = '{"schema_version": 1,'
    elif what == "schema":
        one["rho"] = 1.5
    elif what == "schema_version":
        document["schema_version"] = 3
    elif what == "layer":
        one.update(layer=3, module="model.layers.3.mlp.gate_proj")
    elif what == "shape":
        one.update(shape=[48, 31])
    elif what == "hash":
        one["sha256"] = "0" * 64
    elif what == "rank":
        one["block_ranks"][2] = 13
    elif what == "NaN":
        target_matrix(model, "U_in", 1).parameter.data[3, 4] = float("nan")
        one["sha256"] = None
        document["base_model"]["id"] = str(save_checkpoint(tmp_path / "nan", "llama", model))
    elif what == "sigma":
        wrong = dataclasses.replace(directions_of(model, "U_in", 1, {(0, 2): 1.5}), sigma=(1.0,))
        document = edit_with(model, wrong, base_id=str(llama)).to_json()
    elif what == "method":
        document = edit_with(model, plugin_edit(edit.edits[0]), base_id=str(llama)).to_json()
    path.write_text(text or json.dumps(document))
    return {"edit": str(path)}


WRONG = {
    "no such file": "missing.json: expected an edit manifest, a JSON file, but there is no such file",
    "not JSON": "wrong.json: not JSON",
    "schema": "wrong.json: edits[0].rho: expected at most 1, got 1.5",
    "schema_version": "wrong.json: schema_version: 3 is newer than 2, the newest known here; upgrade cti-edits",
    "layer": "wrong.json: test: edits[0].layer: expected 0 to 2 (the model has 3 layers), got 3",
    "shape": "wrong.json: test: edits[0].shape: the edit is for [48, 31] (rows, columns), model.layers.1.mlp.gate_proj "
    "of this model has [48, 32]",
    "hash": "wrong.json: test: edits[0].sha256: model.layers.1.mlp.gate_proj.weight is not the tensor",
    "rank": "wrong.json: edits[0].block_ranks[2]: expected 2 (rho 0.2",
    "NaN": "wrong.json: test: edits[0].module: the weight of model.layers.1.mlp.gate_proj holds NaN",
    "sigma": "wrong.json: test: edits[0]: sigma: the edit was made where singular value 2 is 1, here it is ",
    "method": "wrong.json: test: edits[0]: method: 'magic' is not known here: it is a plugin's, of the distribution",
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_edit_is_one_line_and_exit_code_2_in_the_command(
    what: str, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    from lm_eval.__main__ import cli_evaluate

    arguments = _damaged(llama, tmp_path, what)
    with pytest.raises(EditError):
        EditedLM.create_from_arg_obj(arguments, {"device": "cpu"})
    # What the lm_eval script's own module holds; see errors.one_line_in_command.
    monkeypatch.setattr(sys.modules["__main__"], "cli_evaluate", cli_evaluate, raising=False)
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        EditedLM.create_from_arg_obj(arguments, {"device": "cpu"})
    assert stop.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "cti-edits" in line]
    assert line.startswith("cti-edits: error: ")
    assert WRONG[what] in line


def test_the_whole_command_ends_in_one_line(llama: Path, tmp_path: Path, run_command: Run) -> None:
    path = _damaged(llama, tmp_path, "layer")["edit"]
    done = run_command(
        "lm_eval", "--model", "cti", "--model_args", f"edit={path}", "--tasks", "cti_capitals",
        "--include_path", str(folder("tasks")),
    )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("cti-edits: error: ")
    assert WRONG["layer"] in done.stderr.splitlines()[-1]


def test_load_base_names_what_is_wrong(llama: Path) -> None:
    with pytest.raises(EditError, match=r"cannot load the model .* unexpected keyword argument 'nonsense'"):
        load_base(read_base(str(llama), "nonsense=1"), "cpu", "auto", 1)
    with pytest.raises(EditError, match="model_args: dtype has an option of its own"):
        read_base(str(llama), "dtype=float16")
    with pytest.raises(EditError, match="cannot load the model 'no/where'"):
        read_base("no/where", "")
    with pytest.raises(EditError, match="dtype: expected auto, float32"):
        load_base(read_base(str(llama), ""), "cpu", "float13", 1)
    if not torch.cuda.is_available():
        with pytest.raises(EditError, match="device: cuda: PyTorch sees no such device here"):
            load_base(read_base(str(llama), ""), "cuda", "auto", 1)


def test_weights_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    base = save_checkpoint(tmp_path / "broken", "llama")
    (base / "model.safetensors").write_bytes(b"xx")
    with pytest.raises(EditError, match="cannot load the model") as caught:
        load_base(read_base(str(base), ""), "cpu", "auto", 1)
    assert "\n" not in str(caught.value)


def test_a_misspelt_argument_names_the_right_one(llama: Path) -> None:
    with pytest.raises(EditError, match=r"unexpected argument 'edits'; did you mean edit\?"):
        EditedLM.create_from_arg_obj({"pretrained": str(llama), "edits": "x.json"}, {"device": "cpu"})


def test_tasks_for_masked_models_are_refused(llama: Path) -> None:
    from lm_eval.api.instance import Instance

    lm = EditedLM(pretrained=str(llama))
    for ask, kind in ((lm.loglikelihood, "loglikelihood"), (lm.generate_until, "generate_until")):
        request = Instance(kind, {}, ("It is <mask>", " so"), 0, ("cti_fever_masked", 0, 1))
        with pytest.raises(EditError, match=r"is for masked language models and this one is causal; use cti_fever$"):
            ask([request])


def test_a_wrong_architecture_is_refused(llama: Path) -> None:
    edit = edit_of(tiny_model("llama"), *PLACES, base_id=str(llama))
    other = dataclasses.replace(edit, base_model=dataclasses.replace(edit.base_model, architecture="GPTJForCausalLM"))
    with pytest.raises(FitError, match=r"base_model\.architecture: the edit is for GPTJForCausalLM"):
        apply(other, tiny_model("llama"))


def test_byte_tokenizer_keeps_every_character() -> None:
    # The tests above would mean little if all prompts became unknown tokens.
    tokenizer = byte_tokenizer()
    assert tokenizer.decode(tokenizer.encode("The capital of São Tomé is")) == "The capital of São Tomé is"


def test_a_text_model_inside_a_multimodal_one_is_loaded_with_it(tmp_path: Path) -> None:
    tiny = TINY["llava"]
    folder = save_model(tmp_path / "base", tiny.build())
    lm = EditedLM.for_checkpoint(pretrained=str(folder), device="cpu")
    assert type(lm.model).__name__ == tiny.model_class
    assert lm.kind == "causal"
