"""What torch can compute on."""

from __future__ import annotations

import torch

from cti_edits.linalg.devices import device_name, devices


def test_every_device_that_is_told_takes_a_tensor() -> None:
    found = devices()
    assert found[0][0] == "cpu"
    assert f"{torch.get_num_threads()} threads" in found[0][1]
    assert len(found) == len(dict(found))
    for name, _ in found:
        assert float(torch.ones(2, device=name).sum()) == 2.0


def test_a_device_has_the_name_that_a_manifest_records() -> None:
    assert device_name("cpu") == device_name(torch.device("cpu")) == "cpu"
    if torch.cuda.is_available():
        assert device_name("cuda:0") == torch.cuda.get_device_name(0)
