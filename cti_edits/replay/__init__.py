"""The fast engine: asks a model about many edits of one matrix each, and takes σ-gradients.

- session.py: what gradients, evaluations and the test part share of one loaded model.
- replay_evaluator.py: evaluates the model on a set of examples, from the edited block on.
- encoder_decoder_evaluator.py, answer_batches.py: the same of encoder-decoders; answers in batches by their contexts.
- evaluator.py: what they and lm-eval's reference evaluator offer.
- sigma_gradients.py: the gradient of each singular value, from one forward and backward pass; backward.py: its hooks.
- gradients.py: whole gradients, for models that take no packed rows, and encoder-decoders.
- block_replay.py: a model whose blocks can be run in parts.
- packed_rows.py, batches.py: token sequences packed into rows, and where in them what is read.
- packing_check.py: whether a model heeds the masks of such rows.
- layout.py: the batches of a set of questions, and the hidden states that each has reached.
- decoding.py: greedy decoding of several sequences together.
- answers.py: from logits to lm-eval's verdict on each example.
- example_order.py: the order of the examples, so that a candidate that cannot win is stopped early.
- added_directions.py: a model with singular directions added to what its layers give, and no weight changed.
- memory.py: how much goes through the model at once, and what happens where the memory is exhausted.
- onednn.py: linear layers by oneDNN; replaced_forward.py: has a module run something else for a while.
"""
