from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cti_edits.artifact.manifest import Edit, load
from cti_edits.errors import EditError, FactorsError
from cti_edits.harness.edit_argument import read_edits, split_names
from cti_edits.harness.lm import EditedLM
from cti_edits.models.apply import target_matrix
from cti_edits.models.packing import pack
from cti_edits.paths import folder
from tests.conftest import Run
from tests.support.edits import edit_of
from tests.support.local_hub import local_hub
from tests.support.tiny_models import tiny_model

PLACES = (("U_in", 1, 4, 0.2), ("U_out", 2, 1, 0.1))


def part(llama: Path, number: int, **changes: Any) -> Edit:
    edit = edit_of(tiny_model("llama"), PLACES[number], base_id=str(llama), name=f"part-{number}")
    return dataclasses.replace(edit, **changes)


def weights(lm: Any) -> list[torch.Tensor]:
    return [target_matrix(lm.model, matrix, layer).weight for matrix, layer, *_ in PLACES]


@pytest.fixture
def files(llama: Path, tmp_path: Path) -> list[str]:
    return [str(part(llama, number).write(tmp_path / f"{number}.json")) for number in (0, 1)]


@pytest.fixture
def both(llama: Path) -> list[torch.Tensor]:
    return weights(EditedLM(edit=edit_of(tiny_model("llama"), *PLACES, base_id=str(llama))))


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_edits_joined_by_plus_or_in_a_list_are_applied_together(
    files: list[str], both: list[torch.Tensor], llama: Path
) -> None:
    ways: list[dict[str, Any]] = [
        {"edit": "+".join(files)},
        {"edit": "+".join(reversed(files))},
        {"edit": files},
        {"edit": [load(files[0]), files[1]]},
        {"edit": [part(llama, 0), part(llama, 1)]},
    ]
    digests = set()
    for way in ways:
        lm = EditedLM(**way)
        assert same(weights(lm), both)
        digests.add(lm.get_model_info()["edit"]["digest"])
    assert len(digests) == 1
    assert not same(weights(EditedLM(edit=files[0])), both)


def test_the_results_name_the_parts_and_the_composition(files: list[str]) -> None:
    lm = EditedLM.create_from_arg_string(f"edit={'+'.join(files)}", {"device": "cpu"})
    info = lm.get_model_info()["edit"]
    assert info["parts"] == [{"name": load(file).name, "digest": load(file).digest()} for file in files]
    assert info["digest"] == lm.edit.digest()  # type: ignore[union-attr]
    assert info["digest"] not in {one["digest"] for one in info["parts"]}
    assert info["name"] == "part-0-and-part-1"
    assert "parts" not in EditedLM(edit=files[0]).get_model_info()["edit"]


def test_factors_of_the_parts_are_found_in_their_own_folders(
    llama: Path, both: list[torch.Tensor], tmp_path: Path
) -> None:
    # Of one name, so that the files of factors have one name too.
    files = []
    for number in (0, 1):
        file = part(llama, number, name="same").write(tmp_path / str(number) / "edit.json")
        pack(file)
        assert (file.parent / "same.safetensors").is_file()
        files.append(str(file))
    lm = EditedLM(edit="+".join(files))
    assert all(one.factors for one in lm.edit.edits)  # type: ignore[union-attr]
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(weights(lm), both, strict=True))
    # They are what is read: without a file there is no edit.
    (tmp_path / "1" / "same.safetensors").unlink()
    with pytest.raises(FactorsError, match=r"1/same\.safetensors: cannot be read"):
        EditedLM(edit="+".join(files))


def test_edits_that_do_not_fit_together_are_one_line(llama: Path, files: list[str], tmp_path: Path) -> None:
    with pytest.raises(EditError, match=r"both edit U_in of layer 1 .* a matrix can be edited once"):
        EditedLM(edit=f"{files[0]}+{files[0]}")
    elsewhere = dataclasses.replace(part(llama, 1).base_model, id="some/where")
    other = str(part(llama, 1, base_model=elsewhere).write(tmp_path / "other.json"))
    with pytest.raises(EditError, match=r"base_model\.id: expected edits of one base model"):
        EditedLM(edit=f"{files[0]}+{other}")
    with pytest.raises(EditError, match=r"gone\.json: expected an edit manifest, a JSON file, but there is no such"):
        EditedLM(edit=f"{files[0]}+{tmp_path / 'gone.json'}")


@pytest.mark.parametrize("wrong", [[], True, 1.5, [1], {"a": 1}])
def test_what_names_no_edit_is_refused(wrong: Any, llama: Path) -> None:
    with pytest.raises(EditError, match="edit: expected "):
        EditedLM(edit=wrong, pretrained=str(llama))


def test_a_file_with_a_plus_in_its_name_goes_first(llama: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    part(llama, 0, name="first").write("a.json")
    part(llama, 1, name="second").write("b.json")
    assert read_edits("a.json+b.json").edit.name == "first-and-second"
    part(llama, 0, name="plus").write("c++.json")
    part(llama, 0, name="one").write("a.json+b.json")
    assert read_edits("a.json+b.json").edit.name == "one"
    assert read_edits("c++.json").edit.name == "plus"
    Path("d+e.json").touch()
    assert split_names("b.json+d+e.json+a.json") == ("b.json", "d+e.json", "a.json")
    assert split_names("owner/a@1.0+owner/b/edit.json@main") == ("owner/a@1.0", "owner/b/edit.json@main")


def test_parts_may_be_on_the_hub(llama: Path, files: list[str], run_command: Run, tmp_path: Path) -> None:
    packed = part(llama, 1).write(tmp_path / "packed" / "edit.json")
    pack(packed)
    (tmp_path / "program.py").write_text(
        "from cti_edits.harness.edit_argument import read_edits\n"
        "from cti_edits.models.factor_file import read_factors\n"
        f"edit = read_edits('{files[0]}+owner/packed@main').edit\n"
        "print(edit.name, sorted(read_factors(edit)))"
    )
    with local_hub() as hub:
        hub.commit("owner/packed", {one.name: one.read_bytes() for one in packed.parent.iterdir()})
        of_hub = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}
        done = run_command("run-python-file", "program.py", **of_hub)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "part-0-and-part-1 ['model.layers.2.mlp.down_proj']"


def test_the_json_form_of_the_arguments_in_a_run(files: list[str]) -> None:
    from lm_eval import simple_evaluate
    from lm_eval._cli.utils import try_parse_json
    from lm_eval.tasks import TaskManager

    results = simple_evaluate(
        model="cti",
        model_args=try_parse_json(json.dumps({"edit": files})),
        tasks=["cti_capitals"],
        task_manager=TaskManager(include_path=str(folder("tasks")), include_defaults=False),
        limit=2,
        device="cpu",
        bootstrap_iters=0,
    )
    assert len(results["config"]["edit"]["parts"]) == 2
    # As lm-eval writes the file of results.
    assert json.loads(json.dumps(results["config"], default=str))["model_args"] == {"edit": files}
