"""Whatever a figure depends on is in the header of a log."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from cti_edits.artifact.asked import Asked, AskedModel, AskedPrompt, AskedTask
from cti_edits.harness.other_text import OtherText
from cti_edits.search.log_header import log_header
from cti_edits.search.settings import SearchSettings
from tests.support.small_searches import choices

ASKED = Asked(AskedModel(pretrained="tiny"), AskedPrompt(), AskedTask(task="moo"))


def test_each_part_of_it_makes_another(tmp_path: Path) -> None:
    rows, plain = choices(tmp_path), SearchSettings()
    turned = dataclasses.replace(rows, row_hashes=rows.row_hashes[::-1])
    text, other_text = OtherText("a", "Some text."), OtherText("a", "Some other text.")
    of_other = dataclasses.replace(ASKED, model=AskedModel(pretrained="other"))
    headers = [
        log_header(ASKED, plain, {"test": rows}, text, device="cpu"),
        log_header(of_other, plain, {"test": rows}, text, device="cpu"),
        log_header(ASKED, SearchSettings(seed=1), {"test": rows}, text, device="cpu"),
        log_header(ASKED, plain, {"test": turned}, text, device="cpu"),
        log_header(ASKED, plain, {"test": None}, text, device="cpu"),
        log_header(ASKED, plain, {"test": rows}, None, device="cpu"),
        log_header(ASKED, plain, {"test": rows}, other_text, device="cpu"),
        log_header(ASKED, plain, {"test": rows}, text, device="cuda"),
    ]
    assert len({json.dumps(one) for one in headers}) == len(headers)
    assert log_header(ASKED, plain, {"test": rows}, text, device="cpu") == headers[0]
    assert set(headers[0]["versions"]) == {"cti_edits", "lm_eval", "torch", "transformers"}
