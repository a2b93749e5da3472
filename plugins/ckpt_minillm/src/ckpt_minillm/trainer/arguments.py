"""The checkpoint options that every trainer of MiniLLM has.

They say where its weights come from, and where they go.
"""

import argparse
import os
from collections.abc import Callable
from typing import Any

from ckpt_core import UsageError
from ckpt_minillm.search_query import HIDDEN_SIZE, LOCAL_DIR, PREFERENCES, switch_of

LAYERS = 8
DTYPES = ("float16", "bfloat16", "float32")


def add_checkpoint_arguments(
    parser: argparse.ArgumentParser,
    *,
    stage: str,
    load_stage: str | None = None,
    allow_random_init: bool = False,
) -> None:
    """Add the checkpoint options to a parser.

    Those that the parser has already stay as they are.

    Defaults come from `MODEL_HIDDEN_SIZE`, `MODEL_NUM_LAYERS`, `USE_MOE` and `OUT_DIR`, as MiniLLM's scripts set them.

    Args:
        parser: The trainer's.
        stage: The stage that it writes, as files have it: `full_sft`.
        load_stage: The stage it starts from; None for its own.
        allow_random_init: The default of that option; True where a training begins from nothing.

    Raises:
        UsageError: The parser declares one of them with `type=bool`, which takes the word `False` for true.
    """
    add = _adder(parser)
    add("--pretrained_path", metavar="PATH", help="the checkpoint to start from, a path or URL; missing is an error")
    add("--load_from_remote", action="store_true", help="search the remote folder only")
    add("--remote_dir", metavar="DIR", help="the remote folder or URL (MINILLM_REMOTE_DIR, /openbayes/home/out)")
    add(
        "--allow_random_init",
        action=argparse.BooleanOptionalAction,
        default=allow_random_init,
        help="start from random weights where no checkpoint was named and none is found",
    )
    add("--prefer", choices=PREFERENCES, help="which place comes first; newest by the recorded step")
    add("--fallback_stages", metavar="A,B,C", help="stages that may stand in, in that order")
    add("--from_weight", metavar="STAGE", default=load_stage or stage, help="the stage to start from; none for random")
    add("--save_weight", metavar="STAGE", default=stage, help="the stage to write")
    add(
        "--from_resume",
        choices=("0", "1", "auto"),
        default="0",
        help="go on from the resume file; auto: where there is one",
    )
    add("--weights_dtype", choices=DTYPES, help="type of the weights that are written; kept as trained without it")
    add("--hidden_size", type=_size, default=_set("MODEL_HIDDEN_SIZE", HIDDEN_SIZE), metavar="N")
    add("--num_hidden_layers", type=_size, default=_set("MODEL_NUM_LAYERS", LAYERS), metavar="N")
    add(
        "--use_moe",
        type=_switch,
        nargs="?",
        const=True,
        default=_set("USE_MOE", "false"),
        metavar="true|false",
        help="a model of experts",
    )
    add("--out_dir", default=_set("OUT_DIR", LOCAL_DIR), metavar="DIR", help="the local folder, searched and written")


def _adder(parser: argparse.ArgumentParser) -> Callable[..., None]:
    group = parser.add_argument_group("checkpoints")
    known = {option: action for action in parser._actions for option in action.option_strings}

    def add(option: str, **how: Any) -> None:
        if option not in known:
            group.add_argument(option, **how)
        elif known[option].type is bool:
            raise UsageError(
                f"{option}: declared with type=bool, for which the word False is true; leave it out, "
                "add_checkpoint_arguments declares it"
            )

    return add


def _set(variable: str, default: object) -> str:
    """Return a default as text.

    argparse reads it as if it were typed, and complains of it in the same words.
    """
    return os.environ.get(variable) or str(default)


def _size(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 10) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _switch(text: str) -> bool:
    try:
        return switch_of(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not true or false") from None
