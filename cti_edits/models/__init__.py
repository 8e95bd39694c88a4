"""Models in memory and on disk: where an edit's matrices are, whether they are its base, and changing them.

- architectures/: one data file for each family of models, which says what its matrices are called; looking them up.
- targets.py: the weight matrices of a loaded model, whole or parts of a parameter: found, read and written.
- architecture_tree.py: the matrices of a model, with their shapes and layers.
- empty_model.py: a model of a config, without weights.
- detection/: a model that no data file covers: which one is proposed.
- apply.py: binding an edit to a loaded model, applying it, and putting the former weights back.
- targets.py: the matrices of a loaded model, whole or as parts; config_model.py: a model without its weights.
- stored_names.py: under which name a checkpoint stores a matrix; stored_part.py: a matrix that is a part of a tensor.
- quantization.py: quantized weights, and what to load in their place.
- wrappers.py: the model inside PEFT's and torch.compile's wrappers; weights that cannot be edited in place.
- stored_tensor.py: a tensor of a safetensors file: where its bytes are, its hash and norm.
- checkpoint.py: the reader of a checkpoint, in a folder or on the hub.
- checkpoint_location.py: the arguments of ``from_pretrained`` that say where a model's weights are.
- identity.py: the hash and norm that an edit records of a weight, and the checkpoint that a loaded model is from.
- weights_hash.py: one hash for all weights of a model.
- base_match.py: whether a weight is the one that an edit was made for.
- loaded_base.py: whether the weights of a loaded model are, for apply.
- verify.py: whether those of a checkpoint are, without loading a model.
- base_matrices.py: the matrices that an edit changes, found and verified in a checkpoint folder, for export.
- factor_file.py: the file of factors beside a manifest.
- packing.py: writing that file, and dropping it.
- export.py: writing a checkpoint folder with an edit applied.
- peft_export.py: writing an edit as a LoRA adapter, for PEFT.
- export_readme.py: the README of either folder.
- footprint.py: the size and speed of a model with an edit run as factors.
- projection.py: logits at chosen positions only.
- demo_model.py: the small model that the demo runs on.
"""
