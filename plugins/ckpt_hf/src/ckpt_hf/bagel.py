"""What is known of BAGEL's model directories beyond the names of their files.

Sources: BAGEL `app.py` (which files are opened), `modeling/bagel/modeling_utils.py` (PositionEmbedding: frozen sine and
cosine tables, made from the configs) and `train/fsdp_utils.py` (which leaves them out when it loads).
"""

from ckpt_core import Files

COMPANIONS = frozenset({"ae.safetensors"})
"""Weights of another model that the directory needs and no training changes: FLUX's autoencoder."""

_CONFIGS = ("llm_config.json", "vit_config.json")
_TABLES = ("latent_pos_embed.pos_embed", "vit_pos_embed.pos_embed")


def optional_tensors(files: Files) -> tuple[str, ...]:
    """The tensors that BAGEL's code makes by itself where a checkpoint lacks them; none for other models."""
    return _TABLES if all(name in files.entries for name in _CONFIGS) else ()
