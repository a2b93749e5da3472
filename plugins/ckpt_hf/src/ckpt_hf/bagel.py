"""Facts of BAGEL's model directories that file names don't show.

Sources: BAGEL `app.py` (which files are opened), `modeling/bagel/modeling_utils.py` (PositionEmbedding: frozen sine and
cosine tables, made from the configs) and `train/fsdp_utils.py` (which leaves them out when it loads).
"""

from collections.abc import Iterator

from ckpt_core import CkptError, Component, Files, Finding
from ckpt_core.laws.config_claims import config_laws
from ckpt_core.layouts import read_json

COMPANIONS = frozenset({"ae.safetensors"})
"""Weights of another model that the directory needs and no training changes: FLUX's autoencoder."""

_CONFIGS = ("llm_config.json", "vit_config.json")
_LANGUAGE = "language_model."
"""Before the names of the tensors that llm_config.json is about."""

_TABLES = ("latent_pos_embed.pos_embed", "vit_pos_embed.pos_embed")


def optional_tensors(files: Files) -> tuple[str, ...]:
    """Return the tensors that BAGEL's code can make itself.

    A checkpoint may lack them; none for other models.
    """
    return _TABLES if all(name in files.entries for name in _CONFIGS) else ()


def language_laws(files: Files, component: Component) -> Iterator[Finding]:
    """Yield findings where llm_config.json contradicts the language model.

    vit_config.json is not judged, since it counts a layer more.
    """
    path = _CONFIGS[0]
    if path not in files.entries:
        return
    try:
        config = read_json(files, path)
    except CkptError as error:
        yield Finding.of_error(error)
        return
    yield from config_laws(config, dict(component.tensors.infos()), path, within=_LANGUAGE)
