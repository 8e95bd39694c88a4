"""The options of ``cti-edits search``, each with its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from cti_edits.cli import completion
from cti_edits.cli.json_output import AsJson as AsJson

Task = Annotated[
    str | None,
    Option(help="lm-eval task; fever is short for cti_fever.", show_default=False, autocompletion=completion.tasks),
]
Rows = Annotated[
    Path | None,
    Option("--data", help="Rows of your own in its place, JSON Lines: prompt and answer.", show_default=False),
]
TestRows = Annotated[
    Path | None,
    Option("--test-data", help="More of them, to measure the edit on.", show_default="those that are not drawn"),
]
Model = Annotated[str, Option(help="Hub id or checkpoint folder of the base model.")]
ModelArgs = Annotated[str, Option(help="More arguments for lm-eval's hf model, key=value,key=value or JSON.")]
Architecture = Annotated[
    Path | None,
    Option(help="Where the matrices of a model are whose type is not known.", show_default=False),
]
Preset = Annotated[
    str | None,
    Option(
        help="One of cti-edits presets, such as the paper's.",
        show_default=False,
        autocompletion=completion.presets,
    ),
]
Samples = Annotated[
    int | None,
    Option(help="Examples drawn from the validation part.", show_default="the preset's, else 100"),
]
TopQ = Annotated[
    int | None,
    Option(help="Matrices kept for each number of clusters.", show_default="the preset's, else 5"),
]
Clusters = Annotated[
    str | None,
    Option(help="Numbers of row blocks K that are tried.", show_default="the preset's, else 1,2,4,8,16"),
]
Rates = Annotated[
    str | None,
    Option(help="Shares of the rank, rho, that are tried.", show_default="0.9,0.8,0.6,0.4,0.2,0.1,0.05,0.01,0.005"),
]
Matrices = Annotated[str | None, Option(help="Matrices that are tried.", show_default="U_in,U_out")]
Stack = Annotated[
    str | None, Option(help="Of an encoder-decoder: matrices of the encoder or decoder alone.", show_default="both")
]
Scorer = Annotated[
    str | None,
    Option(help="What a matrix is scored by, see cti-edits plugins.", show_default="the preset's, else paper"),
]
Selector = Annotated[
    str | None,
    Option(
        "--select",
        "--selector",
        help="What chooses by scores and outcomes: best, one-standard-error, nll, balanced, or a plugin's.",
        show_default="the preset's, else best",
    ),
]
Partition = Annotated[
    str | None,
    Option(help="How rows are assigned to blocks.", show_default="the preset's, else row-blocks"),
]
Method = Annotated[
    str | None,
    Option(help="How edits are made: block-svd, directions, or a plugin's.", show_default="the preset's"),
]
Directions = Annotated[
    str | None,
    Option(help="With directions: the numbers N of singular values that are tried.", show_default="the preset's"),
]
Drops = Annotated[
    str | None,
    Option(help="With directions: the shares f of the loss that a step takes off.", show_default="the preset's"),
]
Epochs = Annotated[
    int | None,
    Option(help="With directions: fit the N factors, for so many epochs at most; 0: one step.", show_default="0"),
]
Compose = Annotated[
    int | None,
    Option(help="Edits at most, each the best on top of those before.", show_default="the preset's, else 1"),
]
Confirm = Annotated[
    int | None,
    Option(
        help="So many of the best candidates are compared again on as many fresh rows, which choose the winner.",
        show_default="none",
    ),
]
Seed = Annotated[int, Option(help="Seed of the draw.")]
Device = Annotated[str | None, Option(help="cpu, cuda, cuda:0, mps.", show_default="cuda if there is one")]
Dtype = Annotated[str, Option(help="float32, bfloat16, float16 or auto, the checkpoint's.")]
NumFewshot = Annotated[int | None, Option(help="Examples before each prompt.", show_default="the task's")]
FewshotAsMultiturn = Annotated[
    str | None,
    Option(metavar="[BOOLEAN]", help="Have them as turns.", show_default="true with a chat template"),
]
ApplyChatTemplate = Annotated[
    str | None, Option(metavar="[NAME]", help="Put prompts through the chat template.", show_default=False)
]
SystemInstruction = Annotated[str | None, Option(help="Goes before every prompt.", show_default=False)]
GenKwargs = Annotated[
    str, Option(help="Arguments of generation, key=value,key=value or JSON.", show_default="the task's")
]
Metadata = Annotated[str, Option(help="For tasks whose rows depend on it, JSON.", show_default=False)]
Metric = Annotated[
    str | None,
    Option(
        help="NAME or NAME,FILTER, 0 or 1 for each example; or nll or balanced, which --select takes, too.",
        show_default="acc, else the first such",
    ),
]
BatchSize = Annotated[
    str,
    Option(
        metavar="INTEGER|auto",
        help="In one pass: rows of 256 tokens; with the reference evaluator, requests.",
        show_default="by device: 1 on a CPU, else 16; 16 requests",
    ),
]
Evaluator = Annotated[str, Option(help="replay, or reference: edit the model and ask lm-eval.")]
ExactStop = Annotated[bool, Option(help="Stop a candidate that provably cannot win any more.")]
HeldOut = Annotated[
    str | None,
    Option(
        "--test-rows",
        metavar="INTEGER|all|none",
        help="Measure what is found, and the model without it, on so many rows that the search did not see.",
        show_default="1000, or all where there are fewer",
    ),
]
Control = Annotated[
    bool, Option(help="On those rows, measure 5 random edits of the same size and a correction of labels, too.")
]
Guard = Annotated[
    str | None,
    Option(
        metavar="TASK|FILE|none",
        help="Text on which the edited model is compared with the unedited one.",
        show_default="a bundled one on plain subjects",
    ),
]
MaxKl = Annotated[
    float | None,
    Option(
        help="On that text, predictions of the winner may be so far from the unedited model's: mean KL, nats.",
        show_default="no limit",
    ),
]
Fresh = Annotated[bool, Option("--fresh", help="Begin anew; the log that is there gets another name.")]
Extend = Annotated[
    bool,
    Option(
        "--extend",
        help="Widen the search that the log is of: more rates, clusters, matrices, directions, drops or epochs, "
        "a larger top q or number of edits to compose.",
    ),
]
TimeBudget = Annotated[
    str | None,
    Option(
        "--time-budget",
        metavar="TIME",
        help="Try no more candidates after 90s, 10m or 1.5h; the same command without it goes on.",
        show_default="as long as it takes",
    ),
]
IncludePath = Annotated[str | None, Option(help="Folder with more lm-eval tasks.", show_default=False)]
Report = Annotated[bool, Option(help="Write a page about the edit beside it, NAME.html.")]
Output = Annotated[Path | None, Option(help="Where the edit goes.", show_default="edits/MODEL-TYPE_TASK.json")]
