"""The commands of a model card."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from cti_edits import __version__
from cti_edits.artifact.manifest import Edit, load
from cti_edits.artifact.records import DatasetRecord, TaskRecord
from cti_edits.paths import folder
from cti_edits.report.how_to_use import how_to_use, is_bundled, public_requirement
from tests.conftest import ROOT, Run

TWO = load(Path(__file__).parents[1] / "data" / "edit-1" / "two_matrices.json")
COMMIT = "a" * 40
GIT = {"vcs": "git", "commit_id": COMMIT, "requested_revision": "main"}


def of_task(name: str) -> Edit:
    return dataclasses.replace(TWO, task=TaskRecord(name, DatasetRecord(id=None, revision=None, split=None), "acc"))


def command(edit: Edit) -> tuple[str, str]:
    """The lm_eval command, and what is said after it."""
    lines = list(how_to_use(edit, "owner/name"))
    (at,) = (index for index, line in enumerate(lines) if line.startswith("    lm_eval "))
    return lines[at].strip(), " ".join(lines[at + 1 :])


def test_a_task_of_ours_is_found_in_our_folder() -> None:
    assert command(of_task("cti_fever")) == (
        'lm_eval --model cti --model_args edit=owner/name --tasks cti_fever --include_path "$(cti-edits tasks-path)"',
        "",
    )


@pytest.mark.parametrize("name", ["arc_easy", "cti_fever_of_mine", "cti_eight", "cti.fever", "cti_fever\n"])
def test_another_task_is_left_to_the_reader_s_lm_eval(name: str) -> None:
    line, said = command(of_task(name))
    assert "--include_path" not in line
    assert "does not come with cti-edits" in said
    assert "one of its own, or in a folder that is given by `--include_path`" in said


def test_an_edit_without_a_task_says_that_one_is_to_be_chosen() -> None:
    line, said = command(dataclasses.replace(TWO, task=None))
    assert line.endswith(" --tasks TASK")
    assert said.strip() == "TASK is a task of your choice: the edit names none."


def test_a_task_s_name_is_one_word_of_the_command() -> None:
    line, _ = command(of_task("x; rm -rf ~"))
    assert shlex.split(line)[-1] == "x; rm -rf ~"


def test_every_task_of_ours_is_known() -> None:
    names = re.findall(r"^task: (\S+)$", "\n".join(p.read_text() for p in folder("tasks").rglob("*.yaml")), re.M)
    assert len(names) == 16
    assert all(map(is_bundled, names))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"url": "https://github.com/o/r", "vcs_info": GIT}, f"git+https://github.com/o/r@{COMMIT}"),
        (
            {"url": "https://github.com/o/r.git", "vcs_info": GIT, "subdirectory": "py"},
            f"git+https://github.com/o/r.git@{COMMIT}#subdirectory=py",
        ),
        (
            {"url": "https://x.org/c.whl", "archive_info": {"hashes": {"sha256": "b" * 64}}},
            f"https://x.org/c.whl#sha256={'b' * 64}",
        ),
        ({"url": "https://x.org/c.whl", "archive_info": {}}, "https://x.org/c.whl"),
        ({"url": "https://8.8.8.8/c.whl", "archive_info": {}}, "https://8.8.8.8/c.whl"),
        # Nobody else can ask for these.
        ({"url": "file:///home/me/cti-edits", "dir_info": {"editable": True}}, None),
        ({"url": "file:///home/me/c.whl", "archive_info": {}}, None),
        ({"url": "ssh://git@github.com/o/r", "vcs_info": GIT}, None),
        ({"url": "https://me:secret@github.com/o/r", "vcs_info": GIT}, None),
        ({"url": "https://${TOKEN}@github.com/o/r", "vcs_info": GIT}, None),
        ({"url": "https://git.corp.internal/o/r", "vcs_info": GIT}, None),
        ({"url": "https://localhost/o/r", "vcs_info": GIT}, None),
        ({"url": "https://192.168.0.1/c.whl", "archive_info": {}}, None),
        ({"url": "http://x.org/c.whl", "archive_info": {}}, None),
        ({"url": "https://github.com/o/r", "vcs_info": {"vcs": "git"}}, None),
        ({"url": "https://github.com/o/r"}, None),
        ({"url": "https://[x", "vcs_info": GIT}, None),
        ({}, None),
        ([], None),
    ],
)
def test_the_package_is_installed_from_where_it_came_if_others_can(found: object, expected: str | None) -> None:
    assert public_requirement(json.dumps(found)) == expected


def test_without_such_a_record_nothing_is_known() -> None:
    assert public_requirement(None) is None
    assert public_requirement("{") is None


def installed(place: Path, direct_url: str | None) -> dict[str, str]:
    """The variables of a Python that finds cti-edits' metadata in ``place``, before those of this environment."""
    record = place / f"cti_edits-{__version__}.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: cti-edits\nVersion: {__version__}\n")
    if direct_url is not None:
        (record / "direct_url.json").write_text(direct_url)
    return {"PYTHONPATH": f"{place}:{ROOT}"}


def test_an_installation_from_git_is_repeated(run_python: Run, tmp_path: Path) -> None:
    variables = installed(tmp_path / "site", json.dumps({"url": "https://github.com/o/it's", "vcs_info": GIT}))
    manifest = str(Path(__file__).parents[1] / "data" / "edit-1" / "one_matrix.json")
    done = run_python("-m", "cti_edits", "push", manifest, "owner/name", "--dry-run", "out", **variables)
    assert done.returncode == 0, done.stderr
    card = (tmp_path / "out" / "README.md").read_text()
    (line,) = (line for line in card.splitlines() if "pip install" in line)
    assert shlex.split(line) == ["pip", "install", f"git+https://github.com/o/it's@{COMMIT}"]


@pytest.mark.parametrize("record", [None, '{"url": "file:///home/secret/cti-edits", "dir_info": {}}'])
def test_another_one_is_told_to_use_the_source(record: str | None, run_python: Run, tmp_path: Path) -> None:
    variables = installed(tmp_path / "site", record)
    manifest = str(Path(__file__).parents[1] / "data" / "edit-1" / "one_matrix.json")
    done = run_python("-m", "cti_edits", "push", manifest, "owner/name", "--dry-run", "out", **variables)
    assert done.returncode == 0, done.stderr
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"\nInstall cti-edits {__version__} from its source (in a clone: `pip install .`), then run\n" in card
    assert "pip install cti-edits" not in card
    assert "secret" not in card
    assert yaml.safe_load(card.split("---\n")[1])
