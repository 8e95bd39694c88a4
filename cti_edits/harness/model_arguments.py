"""The arguments of ``--model cti``: refuses misspelt ones, and makes one line of a failure to load the model."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache

from cti_edits.errors import EditError, printable
from cti_edits.harness.benchmark_rows import first_line

OTHER_NAMES = {
    "model": "pretrained",
    "model_id": "pretrained",
    "model_name": "pretrained",
    "model_path": "pretrained",
    "model_name_or_path": "pretrained",
    "pretrained_model_name_or_path": "pretrained",
    "base_model": "pretrained",
    "edits": "edit",
    "manifest": "edit",
    # transformers takes it and lets HFLM's own dtype win, so that it would change nothing.
    "torch_dtype": "dtype",
}
"""Other names for these arguments, in other tools and from habit."""

TAKEN_BY_TRANSFORMERS = frozenset(
    {
        "adapter_kwargs", "adapter_name", "allow_all_kernels", "attn_implementation", "bnb_4bit_compute_dtype",
        "bnb_4bit_quant_type", "bnb_4bit_use_double_quant", "code_revision", "device_map", "device_mesh",
        "distributed_config", "experts_implementation", "generation_config", "kernel_config", "key_mapping",
        "llm_int8_enable_fp32_cpu_offload", "llm_int8_threshold", "load_in_4bit", "load_in_8bit", "low_cpu_mem_usage",
        "max_memory", "offload_buffers", "output_loading_info", "proxies", "quantization_config", "resume_download",
        "state_dict", "tp_size", "use_auth_token", "use_flash_attention_2", "use_kernels", "variant",
    }
)  # fmt: skip
"""What ``from_pretrained`` takes out of its further arguments, which no signature names."""


def check_arguments(lm_class: type, names: Iterable[str], in_config: Callable[[str], bool]) -> None:
    """Refuse an argument that is another one misspelt.

    HFLM passes an argument that it does not know to ``from_pretrained``, which takes more than can be listed here, and
    ignores it for a model in memory. So a wrong name ends in a traceback, or in figures with other settings.

    Args:
        lm_class: whose parameters, and whose bases', are right.
        names: of the arguments.
        in_config: whether a name is a field of the model's config, which ``from_pretrained`` then sets.

    Raises:
        EditError: a name is none of the class, and near one of them or another word for it.
    """
    known = parameter_names(lm_class)
    plain = {_plain(name): name for name in known}
    for name in names:
        if name in known:
            continue
        meant = OTHER_NAMES.get(name.lower()) or plain.get(_plain(name))
        if meant is None and name not in _transformers_names():
            (meant,) = difflib.get_close_matches(name.lower(), known, 1, 0.8) or (None,)
            if meant is not None and in_config(name):
                continue
        if meant is not None:
            raise EditError(f"unexpected argument {printable(name)!r}; did you mean {meant}?")


@cache
def parameter_names(lm_class: type) -> tuple[str, ...]:
    """The named parameters of a class and its bases."""
    found: dict[str, None] = {}
    for one in lm_class.__mro__:
        if "__init__" in vars(one):
            for parameter in list(inspect.signature(vars(one)["__init__"]).parameters.values())[1:]:
                if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                    found.setdefault(parameter.name)
    return tuple(found)


@cache
def _transformers_names() -> frozenset[str]:
    from transformers import PreTrainedModel

    return TAKEN_BY_TRANSFORMERS | set(inspect.signature(PreTrainedModel.from_pretrained).parameters)


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def check_remote_code(value: object) -> bool:
    """Whether code that comes with a checkpoint may run: only where that was asked for.

    transformers asks on the terminal where the argument is None, and takes any text for yes.

    Raises:
        EditError: the value says neither.
    """
    if value is None:
        return False
    if not isinstance(value, bool):
        raise EditError(f"trust_remote_code: expected true or false, got {printable(value)!r}")
    return value


def arguments_of_text(text: str) -> dict[str, object]:
    """``key=value,key=value`` as lm-eval reads it."""
    from lm_eval.utils import simple_parse_args_string

    return dict(simple_parse_args_string(text))


@contextlib.contextmanager
def loading(pretrained: object, named_by: str | None = None) -> Iterator[None]:
    """Whatever goes wrong inside, while a model is loaded, becomes an `EditError` of one line; see its cause for more.

    Args:
        pretrained: the model; None if the edit that names it has not been read.
        named_by: the edit that names it, if one does.

    Raises:
        EditError: anything was raised inside.
    """
    try:
        yield
    except EditError:
        raise
    except Exception as error:
        raise EditError(f"cannot load the model{_shown(pretrained, named_by)}: {_reason(error)}") from error


def _shown(pretrained: object, named_by: str | None) -> str:
    edit = "" if named_by is None else printable(named_by)
    if pretrained is None:
        return f" that {edit} names" if edit else ""
    model = printable(pretrained) if isinstance(pretrained, str) else type(pretrained).__name__
    return f" {model!r}" + (f", which {edit} names as its base" if edit else "")


def _reason(error: Exception) -> str:
    # transformers says so in five lines, with an address that does not exist.
    if "trust_remote_code=True" in str(error):
        return "it runs code of its own, which was not asked for; read that code, then give trust_remote_code=true"
    said = first_line(error)
    near = ""
    if unknown := re.search(r"unexpected keyword argument '(\w+)'", said):
        found = difflib.get_close_matches(unknown[1], ("edit", "verify", "factorize", "pretrained", "revision"), 1)
        near = f"; did you mean {found[0]}?" if found else ""
    return printable(said, 300) + near
