from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import CachingLM
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager
from transformers import AutoModelForMaskedLM, AutoTokenizer

from cti_edits.artifact.manifest import BaseModel, Edit
from cti_edits.artifact.matrix_edits import BlockSvdEdit
from cti_edits.artifact.ranks import block_ranks
from cti_edits.errors import EditError
from cti_edits.harness.calibration import GoldRequest, draw
from cti_edits.harness.lm import EditedLM, load_base, read_base
from cti_edits.harness.masked_lm import EditedMaskedLM
from cti_edits.harness.tasks import load_task
from cti_edits.linalg.lowrank import truncate
from cti_edits.models.apply import target_matrices, target_matrix
from cti_edits.replay.gradients import loss_gradients
from cti_edits.search.runner import run_search
from cti_edits.search.settings import SearchSettings
from studies.tiny import TINY
from tests.support.edits import cuts
from tests.support.tiny_models import byte_tokenizer, save_checkpoint, tiny_model
from tests.support.tiny_tokenizers import save_masked_checkpoint

FAMILIES = ("roberta", "xlm-roberta", "bert", "distilbert")
LONG = "Paris is the capital of France, and the sea is dry. " * 8
REQUESTS = (
    ("Consider the following claim: the sea is dry. The claim is <mask>", " true"),
    ("Consider the following claim: the sea is dry. The claim is <mask>", " false"),
    ("Relation:", " entailment"),
    ("Relation:", " non-entailment"),
    ("Paris <mask> the capital of France.", " is"),
    ("The capital of Norway is <mask> <mask> <mask>", " Oslo"),
    ("<mask> brown fox jumps", " A quick"),
    ("", " true"),
    (f"{LONG} The claim is <mask>.", " true"),
    (f"The claim is <mask>. {LONG}", " true"),
    ("Consider the following claim: the sea is dry. The claim is <mask>", " true"),
)
GENERATIONS = (
    "The capital of Norway is <mask> <mask> <mask>",
    "Paris <mask> the capital of <mask>.",
    "Relation: <mask>",
    f"{LONG} The claim is <mask> <mask>",
    "Relation: <mask>",
)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Folders of tiny random models, one a family, made once."""
    made: dict[str, str] = {}

    def checkpoint(model_type: str) -> str:
        if model_type not in made:
            made[model_type] = str(save_masked_checkpoint(tmp_path_factory.mktemp(model_type), model_type))
        return made[model_type]

    return checkpoint


@pytest.fixture(params=FAMILIES)
def checkpoint(request: pytest.FixtureRequest, checkpoints: Callable[[str], str]) -> str:
    return checkpoints(request.param)


def edited(pretrained: Any, **arguments: Any) -> EditedMaskedLM:
    # Float64, so that a pass with padding and one without differ in nothing but what they should.
    lm = EditedLM.create_from_arg_obj({"dtype": "float64", "device": "cpu", "pretrained": pretrained, **arguments})
    assert isinstance(lm, EditedMaskedLM)
    return lm


def sure_of(pretrained: str, word: str) -> EditedMaskedLM:
    """A model whose argmax is the one token of ``word`` everywhere."""
    lm = edited(pretrained)
    (token,) = lm.tokenizer(word, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        lm.model.get_output_embeddings().bias[token] += 1000
    return lm


def instances(kind: Any, arguments: list[tuple[Any, ...]]) -> list[Instance]:
    return [Instance(kind, {}, given, index) for index, given in enumerate(arguments)]


class Direct:
    """What transformers itself gives, one example at a time, without padding."""

    def __init__(self, folder: str, dtype: torch.dtype = torch.float64) -> None:
        self.model = AutoModelForMaskedLM.from_pretrained(folder, dtype=dtype)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def text(self, text: str) -> list[int]:
        """The tokens of a text, cut to 64 as DESIGN has it: at the left, and at the right where a mask would go."""
        ids: list[int] = self.tokenizer(text.replace("<mask>", self.tokenizer.mask_token))["input_ids"]
        first = ids.index(self.tokenizer.mask_token_id)
        start = max(1, min(len(ids) - 63, first))
        return [ids[0], *ids[start : len(ids) - 1][:62], ids[-1]]

    def logits(self, text: str) -> torch.Tensor:
        """The logits at the masks of a text."""
        ids = self.text(text)
        places = [index for index, token in enumerate(ids) if token == self.tokenizer.mask_token_id]
        logits: torch.Tensor = self.model(input_ids=torch.tensor([ids])).logits[0, places]
        return logits

    def answer(self, context: str, answer: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities (tokens, vocabulary) at the answer's places, and its tokens."""
        wanted = torch.tensor(self.tokenizer(answer, add_special_tokens=False)["input_ids"])
        text = context if "<mask>" in context else f"{context} <mask>"
        before, _, after = text.rpartition("<mask>")
        masks = max(1, len(wanted) - before.count("<mask>"))
        text = before + "<mask>" * masks + after
        logits = self.logits(text)[: len(wanted)]
        assert len(logits) == len(wanted)
        return torch.log_softmax(logits.double(), -1), wanted

    def loglikelihood(self, context: str, answer: str) -> tuple[float, bool]:
        logprobs, wanted = self.answer(context, answer)
        chosen = logprobs[range(len(wanted)), wanted]
        return float(chosen.sum()), bool((logprobs.argmax(-1) == wanted).all())

    def generation(self, context: str) -> str:
        return str(self.tokenizer.decode(self.logits(context).argmax(-1).tolist(), skip_special_tokens=True))


@pytest.mark.parametrize("batch_size", [1, 4, "auto"])
@torch.no_grad()
def test_loglikelihood_is_that_of_transformers_example_by_example(checkpoint: str, batch_size: Any) -> None:
    direct = Direct(checkpoint)
    found = edited(checkpoint, batch_size=batch_size).loglikelihood(instances("loglikelihood", list(REQUESTS)), True)
    expected = [direct.loglikelihood(*request) for request in REQUESTS]
    assert [likelihood for likelihood, _ in found] == pytest.approx([e for e, _ in expected], abs=1e-9)
    assert [greedy for _, greedy in found] == [e for _, e in expected]
    assert len({round(likelihood, 6) for likelihood, _ in found}) == len(set(REQUESTS))


def test_a_greedy_answer_is_told_from_one_that_is_not(checkpoint: str) -> None:
    lm = sure_of(checkpoint, " false")
    requests = [*REQUESTS[:2], ("Relation: <mask>", " false false"), ("Relation: <mask>", " false claim")]
    found = lm.loglikelihood(instances("loglikelihood", requests), True)
    assert [greedy for _, greedy in found] == [False, True, True, False]


@pytest.mark.parametrize("batch_size", [1, 3, "auto"])
@torch.no_grad()
def test_generation_is_the_argmax_at_the_masks(checkpoint: str, batch_size: Any) -> None:
    direct = Direct(checkpoint)
    requests: list[tuple[Any, ...]] = [(context, {"until": [], "max_gen_toks": 1}) for context in GENERATIONS]
    found = edited(checkpoint, batch_size=batch_size).generate_until(instances("generate_until", requests), True)
    assert found == [direct.generation(context) for context in GENERATIONS]
    assert len(set(found)) > 2


def test_a_generation_is_cut_at_the_first_stop_string(checkpoint: str) -> None:
    lm = sure_of(checkpoint, " false")
    stops: list[Any] = [["se f", "lse"], "lse", ["lse"], ["", "true"], "", [], None]
    requests: list[tuple[Any, ...]] = [*((GENERATIONS[0], {"until": until}) for until in stops), (GENERATIONS[0], {})]
    whole = lm.tokenizer.decode(lm.tokenizer(" false false false", add_special_tokens=False)["input_ids"])
    assert whole.strip() == "false false false"
    found = lm.generate_until(instances("generate_until", requests), True)
    assert found == [whole[: whole.index("lse")]] * 3 + [whole] * 5


def test_a_prompt_of_the_longest_length_runs(checkpoint: str) -> None:
    lm = edited(checkpoint)
    assert lm.max_length == 64
    seen = []
    lm.model.register_forward_pre_hook(
        lambda _module, _args, given: seen.append(given["input_ids"].shape), with_kwargs=True
    )
    lm.loglikelihood(instances("loglikelihood", [REQUESTS[8]]), True)
    assert seen == [(1, 64)]


def test_max_length_can_be_given(checkpoints: Callable[[str], str]) -> None:
    lm = edited(checkpoints("roberta"), max_length=16)
    seen = []
    lm.model.register_forward_pre_hook(
        lambda _module, _args, given: seen.append(given["input_ids"].shape), with_kwargs=True
    )
    lm.loglikelihood(instances("loglikelihood", [REQUESTS[8]]), True)
    assert seen == [(1, 16)]


def test_prompts_that_mask_alike_share_a_pass(checkpoints: Callable[[str], str]) -> None:
    lm = edited(checkpoints("bert"), batch_size=16)
    seen = []
    lm.model.register_forward_pre_hook(
        lambda _module, _args, given: seen.append(len(given["input_ids"])), with_kwargs=True
    )
    lm.loglikelihood(instances("loglikelihood", [*REQUESTS[:2], REQUESTS[10]]), True)
    assert seen == [1]


@pytest.mark.parametrize(("model_type", "batches"), [("fnet", 4), ("mobilebert", 4), ("luke", 1)])
@torch.no_grad()
def test_texts_that_padding_would_change_are_read_by_length(model_type: str, batches: int) -> None:
    """Fourier transforms and neighbours' embeddings reach over what an attention mask hides."""
    model = TINY[model_type].build()
    model.get_input_embeddings().weight.normal_(std=0.5)  # padding's too, which is zero in a new model
    requests = instances("loglikelihood", [(f"{'cow ' * (number % 4)}says <mask>", " moo") for number in range(8)])
    alone = EditedMaskedLM(pretrained=model, tokenizer=byte_tokenizer(masked=True), device="cpu", batch_size=1)
    lm = EditedMaskedLM(pretrained=model, tokenizer=byte_tokenizer(masked=True), device="cpu", batch_size=4)
    expected = [likelihood for likelihood, _ in alone.loglikelihood(requests, True)]
    seen = []
    lm.loglikelihood(requests, True)
    model.register_forward_pre_hook(
        lambda _module, _args, given: seen.append(given["input_ids"].shape), with_kwargs=True
    )
    found = [likelihood for likelihood, _ in lm.loglikelihood(requests, True)]
    assert found == pytest.approx(expected, abs=1e-4)
    assert len(seen) == batches
    gold = [GoldRequest(row, *request.args) for row, request in enumerate(requests)]
    one_by_one = torch.cat([lm.answer_losses([request]) for request in gold])
    assert lm.answer_losses(gold).tolist() == pytest.approx(one_by_one.tolist(), abs=1e-4)


def test_auto_halves_the_batch_when_memory_runs_out(checkpoints: Callable[[str], str]) -> None:
    lm = edited(checkpoints("roberta"), batch_size="auto", max_batch_size=8)
    sizes = []

    def scarce(_module: Any, _args: Any, given: Any) -> None:
        sizes.append(len(given["input_ids"]))
        if sizes[-1] > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")

    hook = lm.model.register_forward_pre_hook(scarce, with_kwargs=True)
    requests = instances("loglikelihood", list(REQUESTS))
    found = lm.loglikelihood(requests, True)
    hook.remove()
    # A short text alone and beside a longer one shows that padding is hidden; then come the prompts.
    assert sizes == [1, 2, 8, 4, 2, 2, 2, 2, 1]
    assert lm.batch_sizes == {0: 2}
    assert [f[0] for f in found] == pytest.approx([f[0] for f in lm.loglikelihood(requests, True)], abs=1e-9)


@pytest.mark.parametrize("arguments", [{"batch_size": 8}, {"batch_size": "auto", "max_batch_size": 1}])
def test_memory_that_runs_out_is_an_error_where_no_smaller_batch_may_be_tried(
    checkpoints: Callable[[str], str], arguments: dict[str, Any]
) -> None:
    lm = edited(checkpoints("roberta"), **arguments)

    def exhausted(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    lm.model.register_forward_pre_hook(exhausted)
    with pytest.raises(torch.OutOfMemoryError):
        lm.loglikelihood(instances("loglikelihood", list(REQUESTS)), True)


def test_another_error_of_the_model_is_not_taken_for_lack_of_memory(checkpoints: Callable[[str], str]) -> None:
    lm = edited(checkpoints("roberta"), batch_size="auto")

    def broken(*_: Any) -> None:
        raise RuntimeError("shapes do not match")

    lm.model.register_forward_pre_hook(broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        lm.loglikelihood(instances("loglikelihood", list(REQUESTS)), True)


def test_a_model_that_names_no_output_layer_gives_the_same(checkpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = edited(checkpoint, batch_size=4)
    requests = instances("loglikelihood", list(REQUESTS))
    found = lm.loglikelihood(requests, True)
    monkeypatch.setattr(lm.model, "get_output_embeddings", lambda: None)
    assert [f[0] for f in lm.loglikelihood(requests, True)] == pytest.approx([f[0] for f in found], abs=1e-9)


@torch.no_grad()
def test_half_precision_is_widened_before_the_softmax(checkpoint: str) -> None:
    lm = edited(checkpoint, dtype="bfloat16")
    ((found, _),) = lm.loglikelihood(instances("loglikelihood", [REQUESTS[1]]), True)
    expected, _ = Direct(checkpoint, torch.bfloat16).loglikelihood(*REQUESTS[1])
    assert found == pytest.approx(expected, abs=1e-5)
    # Bfloat16 has 8 bits for it.
    assert found != float(torch.tensor(found).bfloat16())


def test_answers_are_cached_as_they_come(checkpoints: Callable[[str], str], tmp_path: Path) -> None:
    """A run that breaks off keeps what it had: lm-eval's own wrapper stores results only when all are there."""
    lm = edited(checkpoints("roberta"), batch_size=4)
    lm.loglikelihood(instances("loglikelihood", list(REQUESTS)), True)  # it knows then that padding is hidden
    cached = CachingLM(lm, str(tmp_path / "cache.db"))
    passes: list[None] = []

    def breaks_off(*_: Any) -> None:
        passes.append(None)
        if len(passes) % 3 == 0:
            raise KeyboardInterrupt

    lm.model.register_forward_pre_hook(breaks_off)
    prompts = [f"Relation: {letter} <mask>" for letter in "abcdefghi"]
    with pytest.raises(KeyboardInterrupt):
        cached.loglikelihood(instances("loglikelihood", [(prompt, " true") for prompt in prompts]))
    assert len(cached.dbdict) == 8
    with pytest.raises(KeyboardInterrupt):
        cached.generate_until(instances("generate_until", [(prompt, {}) for prompt in prompts]))
    assert len(cached.dbdict) == 16


def test_the_progress_bar_can_be_turned_off(
    checkpoints: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    lm = edited(checkpoints("bert"))
    capsys.readouterr()
    lm.loglikelihood(instances("loglikelihood", list(REQUESTS)), disable_tqdm=True)
    assert capsys.readouterr().err == ""
    lm.loglikelihood(instances("loglikelihood", list(REQUESTS)))
    assert f"{len(REQUESTS)}/{len(REQUESTS)}" in capsys.readouterr().err


def test_no_requests_give_no_results(checkpoints: Callable[[str], str]) -> None:
    lm = edited(checkpoints("bert"))
    assert lm.loglikelihood([], True) == []
    assert lm.generate_until([], True) == []


def test_there_is_no_rolling_likelihood(checkpoints: Callable[[str], str]) -> None:
    with pytest.raises(EditError, match="has no rolling log-likelihood; use a task whose output_type is"):
        edited(checkpoints("bert")).loglikelihood_rolling(instances("loglikelihood_rolling", [("Paris",)]))


def test_a_backend_cannot_be_chosen(checkpoints: Callable[[str], str]) -> None:
    with pytest.raises(EditError, match="backend: a masked language model has none to choose, got 'causal'"):
        edited(checkpoints("bert"), backend="causal")


def test_answer_losses_are_those_of_transformers(checkpoint: str) -> None:
    lm, direct = edited(checkpoint), Direct(checkpoint)
    gold = [GoldRequest(row, *request) for row, request in enumerate(REQUESTS)]
    expected = []
    for request in REQUESTS:
        logprobs, wanted = direct.answer(*request)
        expected.append(-logprobs[range(len(wanted)), wanted].mean())
    losses = lm.answer_losses(gold)
    assert losses.tolist() == pytest.approx([float(e.detach()) for e in expected], abs=1e-9)
    lengths = [len(direct.tokenizer(answer, add_special_tokens=False)["input_ids"]) for _, answer in REQUESTS]
    assert [len(lm.gold_tokens(request).answer) for request in gold] == lengths

    matrices = ("U_in", "U_out", "W_q")
    gradients = loss_gradients(lm, target_matrices(lm.model, matrices), gold, batch_size=3)
    torch.autograd.backward(torch.stack(expected).mean())
    for target, gradient in zip(target_matrices(direct.model, matrices), gradients, strict=True):
        assert target.parameter.grad is not None
        assert float(gradient.abs().max()) > 0
        torch.testing.assert_close(gradient, target.parameter.grad, atol=1e-9, rtol=1e-7)


def test_losses_and_likelihoods_agree(checkpoint: str) -> None:
    lm = edited(checkpoint, batch_size=4)
    gold = [GoldRequest(row, *request) for row, request in enumerate(REQUESTS)]
    means = [
        -likelihood / len(lm.gold_tokens(request).answer)
        for request, (likelihood, _) in zip(
            gold, lm.loglikelihood(instances("loglikelihood", list(REQUESTS)), True), strict=True
        )
    ]
    assert lm.answer_losses(gold).tolist() == pytest.approx(means, abs=1e-9)


def test_an_error_about_a_gold_answer_names_its_row(checkpoints: Callable[[str], str]) -> None:
    with pytest.raises(EditError, match="row 7: the answer '' to 'Relation:' has no tokens"):
        edited(checkpoints("bert")).gold_tokens(GoldRequest(7, "Relation:", ""))


# The task of the tests below: a claim is true or false, answered at a mask.

TASK = """
task: tiny_claims
custom_dataset: !function rows.claims
output_type: multiple_choice
test_split: test
doc_to_text: "Claim: {{claim}} The claim is <mask>."
doc_to_choice: ["true", "false"]
doc_to_target: label
target_delimiter: " "
num_fewshot: 0
metric_list:
  - metric: acc
"""
ROWS = """
from datasets import Dataset, DatasetDict

def claims(**_):
    places = ("Paris", "Oslo", "Lima", "the sea", "France", "Norway", "Peru", "a fox", "a dog", "the capital")
    claims = [f"{a} is {b}." for a in places for b in places]
    rows = [{"claim": claim, "label": number % 2} for number, claim in enumerate(claims)]
    return DatasetDict({"test": Dataset.from_list(rows)})
"""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "tiny_claims.yaml").write_text(TASK)
    (folder / "rows.py").write_text(ROWS)
    return str(folder)


def evaluation(tasks: str, **model_args: Any) -> tuple[list[list[float]], dict[str, Any]]:
    """Log-likelihoods of each example's choices by lm-eval's own function, and the results' config."""
    use_cache = model_args.pop("use_cache", None)
    results = simple_evaluate(
        model="cti",
        model_args={"device": "cpu", "dtype": "float64", **model_args},
        tasks=["tiny_claims"],
        task_manager=TaskManager(include_path=tasks, include_defaults=False),
        limit=10,
        bootstrap_iters=0,
        use_cache=use_cache,
    )
    samples = sorted(results["samples"]["tiny_claims"], key=lambda sample: sample["doc_id"])
    return [[float(resp[0]) for resp in sample["filtered_resps"]] for sample in samples], results["config"]


def an_edit(folder: str, matrix: str = "U_out", layer: int = 1) -> Edit:
    model = AutoModelForMaskedLM.from_pretrained(folder)
    target = target_matrix(model, matrix, layer)
    shape = (target.weight.shape[0], target.weight.shape[1])
    one = BlockSvdEdit(
        matrix=matrix, layer=layer, module=target.module, shape=shape, rho=0.2, clusters=2,
        block_ranks=block_ranks(shape, 2, 0.2),
    )  # fmt: skip
    base = BaseModel(id=folder, revision=None, architecture=type(model).__name__, dtype=None)
    return Edit(name="tiny", description="", base_model=base, edits=(one,))


def test_an_edit_changes_scores_as_editing_the_weights_by_hand_does(
    checkpoint: str, tasks: str, tmp_path: Path
) -> None:
    edit = an_edit(checkpoint)
    edit.write(tmp_path / "tiny.json")
    base, config = evaluation(tasks, pretrained=checkpoint)
    assert config["edit"] is None
    found, config = evaluation(tasks, edit=str(tmp_path / "tiny.json"))
    assert (config["edit"]["name"], config["edit"]["digest"]) == ("tiny", edit.digest())

    direct = Direct(checkpoint)
    target = target_matrix(direct.model, "U_out", 1)
    with torch.no_grad():
        target.weight.copy_(truncate(target.weight, cuts(edit)[0].block_ranks))
        task = load_task("tiny_claims", tasks)
        for row, (doc, likelihoods) in enumerate(zip(task.eval_docs, found, strict=False)):
            context = f"Claim: {doc['claim']} The claim is <mask>."
            expected = [direct.loglikelihood(context, answer)[0] for answer in (" true", " false")]
            assert likelihoods == pytest.approx(expected, abs=1e-9)
            assert likelihoods != pytest.approx(base[row], abs=1e-3)


def test_base_and_edited_runs_keep_apart_in_one_response_cache(
    checkpoints: Callable[[str], str], tasks: str, tmp_path: Path
) -> None:
    folder, cache = checkpoints("roberta"), str(tmp_path / "cache")
    an_edit(folder).write(tmp_path / "tiny.json")
    base, _ = evaluation(tasks, pretrained=folder)
    edited_alone, _ = evaluation(tasks, edit=str(tmp_path / "tiny.json"))
    for _ in range(2):
        assert evaluation(tasks, pretrained=folder, use_cache=cache)[0] == base
        assert evaluation(tasks, edit=str(tmp_path / "tiny.json"), use_cache=cache)[0] == edited_alone


def test_a_cached_answer_is_not_computed_again(
    checkpoints: Callable[[str], str], tasks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments: dict[str, Any] = {"pretrained": checkpoints("roberta"), "use_cache": str(tmp_path / "cache")}
    base, _ = evaluation(tasks, **arguments)
    monkeypatch.setattr(EditedMaskedLM, "loglikelihood", None)
    assert evaluation(tasks, **arguments)[0] == base


def test_a_search_finds_an_edit_that_lm_eval_applies(
    checkpoints: Callable[[str], str], tasks: str, tmp_path: Path
) -> None:
    folder = checkpoints("roberta")
    calibration = draw(load_task("tiny_claims", tasks), samples=12, seed=0)
    settings = SearchSettings(samples=12, top_q=2, clusters=(1, 2), rates=(0.6, 0.2))
    lm = load_base(read_base(str(folder), ""), device="cpu", dtype="float64", batch_size=4)
    before = {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}
    result = run_search(lm, calibration, settings, name="found", base_id=folder, exact_stop=False)
    assert all(torch.equal(tensor, before[name]) for name, tensor in lm.model.state_dict().items())
    assert result.edit.base_model.architecture == "RobertaForMaskedLM"
    assert len(result.outcomes) == 8
    assert len({outcome.nll for outcome in result.outcomes}) == 8
    assert result.best.candidate is not None
    assert result.best.order() < result.unedited.order()

    result.edit.write(tmp_path / "found.json")
    lm = edited(None, edit=str(tmp_path / "found.json"))
    assert lm.applied_edit is not None
    assert lm.applied_edit.verified
    losses = lm.answer_losses(calibration.gold).detach()
    assert float(losses.mean()) == pytest.approx(result.best.nll, abs=1e-6)


def test_a_verified_edit_is_refused_on_another_base(checkpoints: Callable[[str], str], tmp_path: Path) -> None:
    edit = an_edit(checkpoints("roberta"))
    wrong = replace(edit, edits=(replace(edit.edits[0], sha256="0" * 64),))
    with pytest.raises(EditError, match=r"edits\[0\].sha256"):
        edited(checkpoints("roberta"), edit=wrong)
    assert edited(checkpoints("roberta"), edit=wrong, verify=False).applied_edit is not None


def test_a_tokenizer_without_a_mask_is_refused_when_the_model_is_loaded(tmp_path: Path) -> None:
    tiny_model("bert").save_pretrained(tmp_path)
    tokenizer = byte_tokenizer(masked=True)
    tokenizer.mask_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(EditError, match="has no mask token"):
        edited(str(tmp_path))


def test_a_model_that_is_loaded_already_can_be_given(checkpoints: Callable[[str], str]) -> None:
    folder = checkpoints("distilbert")
    direct = Direct(folder)
    lm = edited(direct.model, tokenizer=direct.tokenizer)
    ((found, _),) = lm.loglikelihood(instances("loglikelihood", [REQUESTS[0]]), True)
    with torch.no_grad():
        assert found == pytest.approx(direct.loglikelihood(*REQUESTS[0])[0], abs=1e-9)


def test_causal_models_stay_what_they_were(tmp_path: Path) -> None:
    folder = str(save_checkpoint(tmp_path, "gpt2"))
    assert type(EditedLM.create_from_arg_obj({"pretrained": folder, "device": "cpu"})) is EditedLM


def test_tasks_for_causal_models_are_refused(checkpoints: Callable[[str], str]) -> None:
    lm = EditedMaskedLM(pretrained=checkpoints("roberta"))
    for ask, kind in ((lm.loglikelihood, "loglikelihood"), (lm.generate_until, "generate_until")):
        second: Any = {} if kind == "generate_until" else " so"
        request = Instance(kind, {}, ("It is <mask>", second), 0, ("cti_truthfulqa", 0, 1))
        with pytest.raises(EditError, match=r"is for causal language models .* use cti_truthfulqa_masked$"):
            ask([request])
        # The one task without a twin serves both kinds.
        request.task_name = "cti_epistemic_reasoning"
        assert len(ask([request])) == 1
