"""lm-eval: tasks and calibration examples, the model ``cti``, the reference evaluator, and what runs wrote.

The only room that imports lm_eval.

Tasks and examples:

- task.py: types of what is used of lm-eval's tasks and requests.
- tasks.py: finds and loads a task by its name; refuses those for the other kind of model.
- benchmark_rows.py: rows of the bundled tasks, from a local folder or the hub.
- benchmark_metrics.py: metrics of the bundled tasks.
- splits.py: the paper's validation and test part.
- own_rows.py: a task of rows that a user has, without a task file.
- calibration.py: draws calibration examples, with their gold answers.
- other_text.py: text that has nothing to do with a task, to compare an edit with its base on.
- row_records.py: which rows share a record, and are not independent.
- prompting.py: few-shot examples, chat template and system instruction.
- fewshot.py: keeps a row out of the examples before its own prompt.
- documents.py: the requests of each example, and its metrics given the responses.
- questions.py: the same requests as token sequences.
- greedy.py: greedy generation, as lm-eval's ``hf`` model has it.
- metrics.py: the metric that says right or wrong of an example.
- evaluation.py: accuracy and loss over the calibration examples.
- reference_evaluator.py: has lm-eval evaluate the model.

The model:

- lm.py: ``--model cti`` for causal language models, and the base model of a search.
- seq2seq_lm.py: encoder-decoders; autoregressive_lm.py: what they share with causal models.
- masked_lm.py, masked_prompt.py: masked language models; their prompts as tokens.
- logit_rounding.py: whether two passes give the same logits, but for rounding.
- edited_model.py: what all kinds share: loads the base, applies the edit, records both.
- base_config.py: which base model is loaded, and of which kind it is.
- edit_argument.py: the argument ``edit``: one edit, or several.
- model_arguments.py, hf_arguments.py: misspelt arguments and load errors; arguments by what they decide.
- special_tokens.py: tokenizers without BOS, EOS or padding token.
- evaluator_hook.py: wraps lm-eval's ``evaluate``, for the two modules that follow.
- skipped_rows.py, row_hashes.py: leaves out rows that an edit was searched on; hashes that identify rows.
- search_mismatch.py: warns of settings that the edit's search had otherwise.
- response_cache.py: the model's table in lm-eval's response cache.
- results_folder.py: how lm-eval names results of a model with an edit.
- quiet.py: lm-eval without its log lines and bars.
- lm_eval_startup.py: registers ``cti`` with lm-eval; lm_eval_command.py: runs its command.

Records and results:

- model_record.py, plain_json.py: the record of a loaded model; arguments as canonical JSON.
- recorded_run.py: the settings of a run, from its results file.
- eval_runs.py: reads results and samples of a run.
- comparison.py: compares runs row by row.
"""
