"""Format `lightning`: the files that Lightning's Trainer saves.

Source: lightning `pytorch/trainer/connectors/checkpoint_connector.py` (dump_checkpoint, restore) and
`pytorch/callbacks/model_checkpoint.py` for names. The directories of its sharding strategies are of other formats.
"""
