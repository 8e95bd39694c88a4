"""The fast evaluator of encoder-decoders against the reference one: ``python -m benchmarks.encoder_decoder``.

On a T5 of flan-t5-base's size with random weights, which take the time that any others take, and the demo model's
tokenizer: the reference evaluator at its best batch size, and edits of the first block of each stack by both, whose
predictions have to be the same on every example. Seconds are of the processor, of all threads together.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from benchmarks.demo import Result, geometric_mean, machine, quiet
from benchmarks.evaluation import best_batch_size

if TYPE_CHECKING:
    from cti_edits.artifact.matrix_id import StackName

BASE: dict[str, Any] = {"d_model": 768, "d_ff": 2048, "d_kv": 64, "num_heads": 12, "num_layers": 12}
SMALL: dict[str, Any] = {"d_model": 32, "d_ff": 48, "d_kv": 8, "num_heads": 4, "num_layers": 2}


def main() -> None:
    quiet()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--model", help="checkpoint folder with the tokenizer (the demo model)")
    parser.add_argument("--task", default="capitals")
    parser.add_argument("--samples", type=int, default=37)
    parser.add_argument("--small", action="store_true", help="a tiny model")
    options = parser.parse_args()
    print(machine())
    lm = random_t5(options.model, SMALL if options.small else BASE)
    print(f"ratio, geometric mean over both stacks: {geometric_mean(ratios(lm, options.task, options.samples)):.1f}")


def random_t5(folder: str | None, size: dict[str, Any]) -> Any:
    """An lm-eval model of a gated T5 with random weights."""
    import torch
    import transformers

    from cti_edits.harness.seq2seq_lm import EditedSeq2SeqLM
    from cti_edits.models.demo_model import demo_model

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder or demo_model())
    made = {"feed_forward_proj": "gated-gelu", "pad_token_id": 0, "decoder_start_token_id": 0, "n_positions": 512}
    config = transformers.T5Config(**{"vocab_size": len(tokenizer), **made, **size})
    torch.manual_seed(0)
    model = transformers.T5ForConditionalGeneration(config).eval()
    return EditedSeq2SeqLM(pretrained=model, tokenizer=tokenizer, device="cpu", batch_size=16)


def timed(function: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds of the processor that ``function`` takes, and what it gives."""
    begun = time.process_time()
    result = function()
    return time.process_time() - begun, result


def ratios(lm: Any, task: str, samples: int) -> list[float]:
    """Of each stack, seconds of the reference evaluator over those of the fast one."""
    from cti_edits.harness.calibration import draw
    from cti_edits.harness.reference_evaluator import ReferenceEvaluator
    from cti_edits.harness.tasks import load_task
    from cti_edits.models.apply import target_matrix
    from cti_edits.replay.encoder_decoder_evaluator import EncoderDecoderEvaluator, encoder_depth
    from cti_edits.replay.session import replaced_weight

    calibration = draw(load_task(task), samples, seed=0)
    reference, fast = ReferenceEvaluator(lm, calibration), EncoderDecoderEvaluator(lm, calibration)
    best_batch_size(lm, reference, [8, 16, 32])
    found = []
    stacks: dict[StackName, int] = {"encoder": 0, "decoder": encoder_depth(lm.model)}
    for stack, start in stacks.items():
        target = target_matrix(lm.model, "U_in", 0, stack)
        fast.evaluate(start)
        with replaced_weight(target, target.weight * -1.5):
            slow, expected = timed(reference.evaluate)
            seconds, ours = timed(functools.partial(fast.evaluate, start))
        if ours is None or (ours.correct, ours.predicted) != (expected.correct, expected.predicted):
            sys.exit(f"the two differ on an edit of the {stack}")
        if abs(ours.nll - expected.nll) > 1e-4:
            sys.exit(f"mean log-probabilities differ by {abs(ours.nll - expected.nll):.1e}")
        print(
            f"{task}, an edit of the {stack}: same predictions; reference {slow:.2f} s (batches of {lm.batch_size}), "
            f"here {seconds:.2f} s, ratio {slow / seconds:.1f}",
            flush=True,
        )
        found.append(slow / seconds)
    return found


if __name__ == "__main__":
    main()
