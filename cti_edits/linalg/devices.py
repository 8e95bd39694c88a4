"""What torch can compute on."""

from __future__ import annotations

import torch


def device_name(device: torch.device | str) -> str:
    """What it is: "cpu", the name of a GPU, "mps"."""
    kind = torch.device(device).type
    return torch.cuda.get_device_name(device) if kind == "cuda" else kind


def devices() -> list[tuple[str, str]]:
    """(name, what it is) of each device: "cpu", then "cuda:0" and its like, "mps"."""
    found = [("cpu", f"{torch.get_num_threads()} threads, torch {torch.__version__}")]
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, whole = torch.cuda.mem_get_info(number)
        described = f"{torch.cuda.get_device_name(number)}, {free / 2**30:.1f} of {whole / 2**30:.1f} GiB free"
        found.append((f"cuda:{number}", described))
    if torch.backends.mps.is_available():
        found.append(("mps", "Apple GPU"))
    return found
