"""The 48 edits of the paper: generated, valid, and applied to models of the real widths."""

from __future__ import annotations

import copy
import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from cti_edits.artifact.manifest import Edit, load
from cti_edits.errors import FitError
from cti_edits.linalg.lowrank import row_blocks
from cti_edits.models.apply import apply, bind
from cti_edits.models.architectures import family_of
from cti_edits.paper.__main__ import main
from cti_edits.paper.published import DATASETS, PAPER, edits, paper_tables
from cti_edits.paths import folder
from tests.support.benchmark_files import needs_rows
from tests.support.edits import cuts, edit_of

SHIPPED = folder("edits")
GPTJ = sorted(edit.name for edit in edits() if edit.name.startswith("gptj_"))
ROBERTA = sorted(edit.name for edit in edits() if edit.name.startswith("roberta_"))


def shipped(name: str) -> Edit:
    return load(SHIPPED / f"{name}.json")


def test_the_command_writes_what_is_shipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 0
    assert "48 edits" in capsys.readouterr().out
    again = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    there = {path.name: path.read_bytes() for path in SHIPPED.glob("*.json")}
    assert sorted(again) == sorted(there)
    assert len(there) == 48
    for name, content in there.items():
        assert again[name] == content, f"{name}: run python -m cti_edits.paper"


def test_the_command_explains_itself(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--help"]) == 2
    assert "usage" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main([str(tmp_path / "file" / "deeper")]) == 2
    assert re.fullmatch(r"cti-edits: error: .*cannot write here.*\n", capsys.readouterr().err)


@needs_rows
def test_the_tables_are_the_papers() -> None:
    # They lie beside the rows.
    tables = Path(os.environ["CTI_EDITS_DATA"]).parent / "paper" / "tables.json"
    assert paper_tables() == json.loads(tables.read_text(encoding="utf-8"))


def test_names_say_model_task_and_preset() -> None:
    names = {edit.name for edit in edits()}
    assert {"gptj_fever", "gptj_fever.cl-100g-se", "gptj_fever.cl-laser", "roberta_qa_wikidata.cl-laser"} <= names
    for path in SHIPPED.glob("*.json"):
        assert load(path).name == path.stem


@pytest.mark.parametrize("name", [*GPTJ, *ROBERTA])
def test_each_says_where_it_comes_from(name: str) -> None:
    """Parameters and accuracies against the tables, read here by the file's name alone."""
    edit = shipped(name)
    tables = paper_tables()
    match = re.fullmatch(r"(gptj|roberta)_([a-z_]+)(?:\.(.+))?", name)
    assert match
    model, task, preset = match[1], match[2], match[3] or "cl-100g-100e"
    if preset == "cl-laser":
        printed = tables["table_8_parameters_clustering_laser"][model][task]
        percent = tables["table_4_clustering_laser"][model][task]
        source, reported_in = "table 8", "table 4"
    else:
        printed = tables["table_7_parameters"][model][preset][task]
        results = tables["table_1_gptj" if model == "gptj" else "table_2_roberta"]
        percent, source = results[preset]["accuracy"][task], "table 7"
        reported_in = "table 1" if model == "gptj" else "table 2"
    baseline = tables["table_1_gptj" if model == "gptj" else "table_2_roberta"]["baseline"][task]

    found = [{"matrix": m.matrix, "layer": m.layer, "rho": m.rho, "clusters": m.clusters} for m in cuts(edit)]
    assert found == ([] if printed is None else [printed])
    assert edit.provenance.source == f"{PAPER} {source}"
    reported = edit.results.reported
    assert reported is not None
    assert reported.source == f"{PAPER} {reported_in}"
    assert reported.baseline == pytest.approx(baseline / 100, abs=1e-12)
    assert reported.edited == pytest.approx(percent / 100, abs=1e-12)
    assert edit.results.calibration is None
    assert edit.results.test is None
    assert edit.search is None
    assert edit.metadata["preset"] == preset
    assert edit.task is not None
    masked = model == "roberta" and task != "epistemic_reasoning"
    assert edit.task.name == f"cti_{task}" + ("_masked" if masked else "")


def test_shares_are_written_as_the_decimals_that_they_are() -> None:
    for path in SHIPPED.glob("*.json"):
        for share in re.findall(r'"(?:baseline|edited)": ([0-9.e-]+)', path.read_text(encoding="utf-8")):
            assert len(share) <= len("0.131"), f"{path.name}: {share}"


# RoBERTa: a random roberta-base, full-size but for its vocabulary, every edit applied and taken back.


@pytest.fixture(scope="module")
def roberta() -> Any:
    config = transformers.RobertaConfig(
        vocab_size=8,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        max_position_embeddings=514,
        type_vocab_size=1,
    )
    torch.manual_seed(0)
    return transformers.RobertaForMaskedLM(config).eval()


def check_ranks(weight: torch.Tensor, edit: Edit) -> None:
    """The first and the last row block have the manifest's rank, up to the rounding of the stored dtype."""
    ranks = cuts(edit)[0].block_ranks
    blocks = row_blocks(weight, len(ranks))
    for index in {0, len(ranks) - 1}:
        wide = blocks[index].double()
        # Rounding moves a singular value by no more than the norm of the rounding errors; the smallest one that is
        # kept of these random weights is far above that.
        tolerance = 0.5 * torch.finfo(weight.dtype).eps * float(torch.linalg.matrix_norm(wide))
        assert int(torch.linalg.matrix_rank(wide, atol=tolerance, rtol=0.0)) == ranks[index]


@pytest.mark.parametrize("name", ROBERTA)
def test_roberta_edits_apply_and_revert(name: str, roberta: Any) -> None:
    edit = shipped(name)
    (target,) = bind(edit, roberta)
    before = {key: value.clone() for key, value in roberta.state_dict().items() if target.module in key}
    untouched = roberta.roberta.encoder.layer[(target.layer + 1) % 12].output.dense.weight.detach().clone()
    in_force = apply(edit, roberta)
    assert tuple(target.weight.shape) == edit.edits[0].shape
    check_ranks(target.weight, edit)
    assert torch.equal(untouched, roberta.roberta.encoder.layer[(target.layer + 1) % 12].output.dense.weight)
    in_force.revert()
    for key, value in before.items():
        assert torch.equal(value, roberta.state_dict()[key])


# GPT-J: its widths and its 28 layers on the meta device, which takes no memory, and values for the edited matrix alone.


def gptj_edits_by_computation() -> dict[tuple[str, int, float], list[str]]:
    """Names of the edits, by what applying them computes: here every layer has the same values."""
    found: dict[tuple[str, int, float], list[str]] = {}
    for name in GPTJ:
        for one in cuts(shipped(name)):
            found.setdefault((one.matrix, one.clusters, one.rho), []).append(name)
    return found


COMPUTATIONS = gptj_edits_by_computation()


@pytest.fixture(scope="module")
def gptj() -> Any:
    with torch.device("meta"):
        return transformers.GPTJForCausalLM(transformers.GPTJConfig()).half().eval()


@pytest.fixture(scope="module")
def gptj_weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        matrix: (torch.randn(shape, generator=generator) * 0.02).half()
        for matrix, shape in (("U_in", (16384, 4096)), ("U_out", (4096, 16384)))
    }


@pytest.fixture
def gptj_with(gptj: Any, gptj_weights: dict[str, torch.Tensor]) -> Iterator[Any]:
    """Gives the edited matrix of a manifest values; the meta tensor is back afterwards."""
    former: list[tuple[Any, Any]] = []

    def materialised(edit: Edit) -> Any:
        for one in edit.edits:
            module = gptj.get_submodule(one.module)
            former.append((module, module.weight))
            module.weight = torch.nn.Parameter(gptj_weights[one.matrix].clone(), requires_grad=False)
        return gptj

    yield materialised
    for module, weight in former:
        module.weight = weight


def test_gptj_takes_no_memory_where_it_is_not_edited(gptj: Any) -> None:
    assert all(parameter.is_meta for parameter in gptj.parameters())
    assert sum(parameter.numel() for parameter in gptj.parameters()) > 6_000_000_000


@pytest.mark.parametrize("name", GPTJ)
def test_gptj_edits_fit(name: str, gptj_with: Any) -> None:
    edit = shipped(name)
    model = gptj_with(edit)
    targets = bind(edit, model)
    assert [(t.matrix, t.layer) for t in targets] == [(one.matrix, one.layer) for one in edit.edits]
    for target, one in zip(targets, cuts(edit), strict=True):
        blocks = row_blocks(target.weight, one.clusters)
        assert len(blocks) == len(one.block_ranks)
        for block, rank in zip(blocks, one.block_ranks, strict=True):
            full = min(block.shape)
            assert rank == max(1, int(one.rho * full + 1e-9))
            assert rank < full


def test_every_gptj_edit_shares_a_computation_or_has_its_own() -> None:
    names = [name for shared in COMPUTATIONS.values() for name in shared]
    assert sorted(names) == [name for name in GPTJ if shipped(name).edits]
    assert len(names) == 23
    assert len(COMPUTATIONS) == 16


def parameters(full_width: bool) -> list[Any]:
    """The computations, one a test; at full width most take long, and the default run has two that do not."""
    quick = {("U_out", 8, 0.005), ("U_in", 16, 0.005)}
    return [
        pytest.param(
            computation,
            id="{}-K{}-{}".format(*computation),
            marks=[pytest.mark.thorough] if full_width and computation not in quick else [],
        )
        for computation in COMPUTATIONS
    ]


@pytest.mark.parametrize("computation", parameters(full_width=True))
def test_gptj_edits_apply_at_full_width(computation: tuple[str, int, float], gptj_with: Any) -> None:
    """The first edit of each computation; the others differ in the layer alone, which `test_gptj_edits_fit` checks."""
    edit = shipped(COMPUTATIONS[computation][0])
    check_application(edit, gptj_with(edit))


@pytest.fixture(scope="module")
def narrow_gptj() -> Any:
    """GPT-J with an eighth of its width, of one block."""
    config = transformers.GPTJConfig(n_embd=512, n_inner=2048, n_layer=1, n_head=4, vocab_size=8)
    torch.manual_seed(0)
    return transformers.GPTJForCausalLM(config).half().eval()


@pytest.mark.parametrize("computation", parameters(full_width=False))
def test_gptj_edits_apply_at_an_eighth_of_the_width(computation: tuple[str, int, float], narrow_gptj: Any) -> None:
    matrix, clusters, rho = computation
    check_application(edit_of(narrow_gptj, (matrix, 0, clusters, rho)), narrow_gptj)


def check_application(edit: Edit, model: Any) -> None:
    """The edit makes its first and last row blocks' best approximations, and takes them back."""
    (target,) = bind(edit, model)
    original = target.weight.clone()
    in_force = apply(edit, model)
    (one,) = cuts(edit)
    before, after = (row_blocks(weight, one.clusters) for weight in (original, target.weight))
    for index in (0, one.clusters - 1):
        check_block(before[index].double(), after[index].double(), one.block_ranks[index])
    in_force.revert()
    assert torch.equal(target.weight, original)


def check_block(before: torch.Tensor, after: torch.Tensor, rank: int) -> None:
    """``after`` is the block's best approximation with ``rank`` ranks, rounded to float16.

    Without another large decomposition: its rank is that of its products with random vectors; it is the block's
    projection on its own rows' span and on its own columns', hence made of the block's singular triplets; and nothing
    that is left over is larger than the least that is kept, hence these are the leading ones.
    """
    generator = torch.Generator().manual_seed(1)
    tests = min(2 * rank + 8, *after.shape)
    sketch = after @ torch.randn(after.shape[1], tests, generator=generator, dtype=torch.float64)
    left, values, _ = torch.linalg.svd(sketch, full_matrices=False)
    assert float(values[rank]) < 0.1 * float(values[rank - 1])
    columns_span = left[:, :rank]
    _, kept, rows_span = torch.linalg.svd(columns_span.T @ after, full_matrices=False)
    some = [0, 1, min(after.shape) // 2, -1]
    # Rounding to float16 turns the spans by about 3e-4.
    assert_rows_close((before[some] @ rows_span.T) @ rows_span, after[some], before[some])
    assert_rows_close((columns_span @ (columns_span.T @ before[:, some])).T, after[:, some].T, before[:, some].T)
    left_over = before - after
    vector = torch.randn(after.shape[1], generator=generator, dtype=torch.float64)
    for _ in range(30):
        vector = left_over.T @ (left_over @ (vector / vector.norm()))
    largest = math.sqrt(float(vector.norm()))
    # From below, and near: 30 steps find the largest of these flat spectra to some percent.
    assert 0.8 * float(kept[-1]) < largest < 1.001 * float(kept[-1])


def assert_rows_close(found: torch.Tensor, expected: torch.Tensor, scale: torch.Tensor) -> None:
    """Each row differs by a thousandth of the row of ``scale`` at most."""
    assert bool(((found - expected).norm(dim=1) <= 1e-3 * scale.norm(dim=1)).all())


def test_a_matrix_without_values_is_refused_in_one_line(gptj: Any) -> None:
    edit = shipped("gptj_fever")
    with pytest.raises(FitError, match=r"edits\[0\]\.module: .*fc_out is on the meta device") as refusal:
        apply(edit, gptj)
    assert "\n" not in str(refusal.value)


def test_the_empty_edit_changes_nothing(gptj: Any) -> None:
    edit = shipped("gptj_truthfulqa")
    assert edit.edits == ()
    apply(edit, gptj).revert()
    assert all(parameter.is_meta for parameter in gptj.parameters())


def test_an_edit_of_one_model_does_not_fit_the_other(roberta: Any) -> None:
    state = copy.deepcopy(roberta.roberta.encoder.layer[4].intermediate.dense.state_dict())
    with pytest.raises(FitError, match="GPTJForCausalLM"):
        apply(shipped("gptj_fever"), roberta)
    for key, value in roberta.roberta.encoder.layer[4].intermediate.dense.state_dict().items():
        assert torch.equal(value, state[key])


def test_modules_are_those_of_the_architecture_files() -> None:
    for edit in edits():
        family = family_of("gptj" if edit.name.startswith("gptj_") else "roberta")
        for one in edit.edits:
            assert family.module_name(one.matrix, one.layer) == one.module


def test_the_data_sets_are_those_that_the_tasks_load() -> None:
    for task, (dataset, _) in DATASETS.items():
        (path,) = folder("tasks").rglob(f"cti_{task}.yaml")
        (found,) = re.findall(r"^  path: (.+)$", path.read_text(), re.MULTILINE)
        assert found == dataset
