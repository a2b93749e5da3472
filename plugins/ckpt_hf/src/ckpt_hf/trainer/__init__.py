"""Format `hf-trainer`: `checkpoint-N` of transformers' Trainer.

It has weights or an adapter, and the state to train on.

Source: transformers `trainer.py` (_save_checkpoint, _save_rng_state, _load_rng_state) and `trainer_callback.py`
(TrainerState). trainer_state.json is written last, so that a save which was stopped lacks it.
"""
