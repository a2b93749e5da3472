"""What tools of training save is whole for its purpose, and each law that is broken in it is named, with exit code 4.

The saves are of torch.distributed.checkpoint, Lightning, Accelerate and DeepSpeed themselves, and are broken by writing
a part of them anew with the tool that wrote it.
"""

import json
import shutil
import warnings

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import _EmptyStateDictLoadPlanner
from torch.distributed.checkpoint.state_dict_loader import _load_state_dict

from ckpt_core.cli.main import main

DEEPSPEED = ("deepspeed_save.py", 3)
SAVES = {
    "dcp": (("dcp_training.py", 2, "train"), "run/step-4", "exact-resume"),
    "lightning": (("lightning_training.py", 2, "train"), "run/epoch=1-step=4.ckpt", "resume"),
    "accelerate": (("accelerate_training.py", 2, "train"), "sharded/checkpoints/checkpoint_1", "exact-resume"),
    "accelerate, full": (("accelerate_training.py", 2, "train"), "full/checkpoints/checkpoint_1", "exact-resume"),
    "without zero": (DEEPSPEED, "stage0-fp32/ds/global_step2", "resume"),
    "zero 1": (DEEPSPEED, "stage1-bf16/ds/global_step2", "resume"),
    "zero 2": (DEEPSPEED, "stage2-bf16/ds/global_step2", "resume"),
    "zero 3": (DEEPSPEED, "stage3-bf16/ds/global_step2", "resume"),
    "experts": (("deepspeed_experts.py", 2, 1), "run/global_step2", "resume"),
}

MODELS, OPTIMS = "*model_states.pt", "*optim_states.pt"
BASE = ("optimizer_state_dict", "base_optimizer_state")
OF_ACCELERATE = {"rng": ("random_states_*.pkl",), "step": ("custom_checkpoint_0.pkl", "step")}
OF_DEEPSPEED = {"model": (MODELS, "module"), "rng": (MODELS, "rng_state"), "step": (MODELS, "global_steps")}
PARTS = {
    "dcp": {key: ("", key) for key in ("model", "optimizer", "rng", "step")},
    "lightning": {
        "model": ("", "state_dict"),
        "optimizer": ("", "optimizer_0"),
        "step": ("meta.pt", "global_step"),
        "loops": ("meta.pt", "loops"),
    },
    "accelerate": {
        "model": ("pytorch_model_fsdp_0", "model"),
        "optimizer": ("optimizer_0", "optimizer"),
        **OF_ACCELERATE,
    },
    "accelerate, full": {"model": ("pytorch_model_fsdp.bin",), "optimizer": ("optimizer.bin",), **OF_ACCELERATE},
    "without zero": {"optimizer": (MODELS, "optimizer"), **OF_DEEPSPEED},
    "zero 1": {"optimizer": (OPTIMS, *BASE), **OF_DEEPSPEED},
    "zero 2": {"optimizer": (OPTIMS, *BASE), **OF_DEEPSPEED},
    "zero 3": {
        "optimizer": (OPTIMS, "optimizer_state_dict", "optimizer_state_dict"),
        "masters": (OPTIMS, "optimizer_state_dict", "fp32_flat_groups"),
        **OF_DEEPSPEED,
    },
    "experts": OF_DEEPSPEED,
}
"""Where each part is: the files, or a directory of DCP, and the keys that lead to it."""

GONE = object()


def without_a_word(function):
    """Torch warns of each save and load that has no process group."""

    def call(*arguments):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*arguments)

    return call


@pytest.fixture
def saved(made, copy_of):
    """A copy of a save by its name, below a folder of its own."""

    def copy(name):
        maker, path, _ = SAVES[name]
        return copy_of(made(*maker) / path, path.rpartition("/")[2])

    return copy


def rewrite(folder, part, change):
    """Write a part anew, with the tool that wrote it."""
    pattern, *keys = part
    for path in [folder] if not pattern else sorted(folder.glob(pattern)):
        is_dcp = path.is_dir()
        tree = {"": read_dcp(path) if is_dcp else torch.load(path, weights_only=False)}
        holder, last = tree, ""
        for key in keys:
            holder, last = holder[last], key
        if last not in holder:  # of several ranks only the first has it
            continue
        new = change(holder.pop(last))
        holder |= {} if new is GONE else {last: new}
        write_dcp(path, tree[""]) if is_dcp else torch.save(tree[""], path)


@without_a_word
def read_dcp(folder):
    state = {}
    reader = dcp.FileSystemReader(str(folder))
    _load_state_dict(state, storage_reader=reader, planner=_EmptyStateDictLoadPlanner(), no_dist=True)
    return state


@without_a_word
def write_dcp(folder, state):
    for path in (*folder.glob("*.distcp"), folder / ".metadata"):
        path.unlink()
    dcp.save(state, checkpoint_id=str(folder), no_dist=True)


@pytest.fixture
def verified(capsys):
    """`verified(folder, profile, depth)`: exit code, verdict, and what is wrong: codes, and components that lack."""

    def verify(folder, profile, depth="layout"):
        capsys.readouterr()
        code = main(["verify", str(folder), "--for", profile, "--depth", depth, "--json"])
        said = json.loads(capsys.readouterr().out)
        assessment = said["result"]["assessment"]
        errors = {finding["code"] for finding in said["findings"] if finding["severity"] == "error"}
        lines = assessment["components"]
        lacking = {f"no {line['component'].partition(':')[0]}" for line in lines if line["presence"] == "absent"}
        return code, assessment["verdict"], errors | lacking

    return verify


@pytest.mark.parametrize("depth", ["layout", "values"])
@pytest.mark.parametrize("name", SAVES)
def test_what_each_tool_saves_is_complete_without_an_error(made, verified, name, depth):
    maker, path, profile = SAVES[name]
    for purpose in ("inference", profile):
        code, verdict, wrong = verified(made(*maker) / path, purpose, depth)
        assert (code, verdict) == (0, "COMPLETE")
        assert not [word for word in wrong if not word.startswith("no ")]


@pytest.mark.parametrize("name", [name for name in SAVES if name != "experts"])
def test_a_save_that_is_written_anew_as_it_was_is_complete(saved, verified, name):
    folder = saved(name)
    for part in PARTS[name].values():
        rewrite(folder, part, lambda value: value)
    assert verified(folder, SAVES[name][2], "values")[:2] == (0, "COMPLETE")


def prefixed(prefix):
    return lambda model: {f"{prefix}{name}": tensor for name, tensor in model.items()}


def first(change):
    """Change the first tensor of two dimensions."""

    def of(model):
        name = next(name for name, tensor in model.items() if tensor.ndim == 2)
        return {**model, name: change(model[name])}

    return of


def full_of(value):
    return first(lambda tensor: torch.full_like(tensor, value).detach())


def emptied(model):
    return {name: torch.empty(0) if tensor.is_floating_point() else tensor for name, tensor in model.items()}


def of_another(_):
    net = torch.nn.Linear(9, 4)
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.ones(9)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


def renamed(optimizer):
    """The state of a part of the parameters under names that the model has not."""
    odd = next(iter(optimizer["state"]))
    names = {name: f"other.{name}" if name == odd else name for name in optimizer["state"]}
    groups = [{**g, "params": [names[name] for name in g["params"]]} for g in optimizer["param_groups"]]
    return {"state": {names[name]: state for name, state in optimizer["state"].items()}, "param_groups": groups}


def stateless(optimizer):
    return {**optimizer, "state": {}}


def to(value):
    return lambda _: value


def short(rng):
    """Random states of nine bytes, wherever they are."""
    if isinstance(rng, dict):
        return {key: short(value) for key, value in rng.items()}
    return rng[:9].clone() if isinstance(rng, torch.Tensor) else rng


def nothing(value):
    return dict.fromkeys(value) if isinstance(value, dict) else None


ALL = [name for name in SAVES if name != "experts"]
WHOLE = [name for name in ALL if name != "zero 3"]
"""Stage 3 keeps no weights in `module`."""
BY_NAME = ["dcp", "lightning", "accelerate", "accelerate, full"]
PLAIN = [*BY_NAME, "without zero"]
PARTITIONED = ["zero 1", "zero 2", "zero 3"]
WITH_RNG = [name for name in ALL if name != "lightning"]
COUNTED = [name for name in ALL if name != "lightning"]

BROKEN = [
    *((name, "model", prefixed(p), "inference", "LW002") for name in WHOLE for p in ("module.", "_orig_mod.")),
    *((name, "model", prefixed("_forward_module."), "inference", "LW002") for name in BY_NAME if name != "lightning"),
    *((name, "model", emptied, "inference", "LW001") for name in WHOLE),
    *((name, "model", first(lambda t: torch.empty(0)), "inference", "LW001") for name in WHOLE),
    *((name, "model", full_of(float("nan")), "inference", "VL001") for name in WHOLE),
    *((name, "model", full_of(float("inf")), "inference", "VL002") for name in WHOLE),
    *((name, "model", full_of(0.0), "inference", "VL003") for name in WHOLE),
    ("zero 3", "masters", lambda ts: [t.data.fill_(float("nan")) for t in ts], "inference", "VL001"),
    *((name, "optimizer", to("AdamW"), "resume", "RS002") for name in PLAIN),
    *((name, "optimizer", to("AdamW"), "resume", "RS003") for name in ("zero 1", "zero 2")),
    ("zero 3", "optimizer", to("AdamW"), "resume", "ZE014"),
    *((name, "optimizer", stateless, "resume", "RS003") for name in ALL),
    *((name, "optimizer", of_another, "resume", "RS004") for name in PLAIN),
    *((name, "optimizer", renamed, "resume", "RS004") for name in BY_NAME),
    *((name, "rng", short, "exact-resume", "RS005") for name in WITH_RNG),
    *((name, "rng", nothing, "exact-resume", "no rng") for name in WITH_RNG),
    *((name, "step", to("four"), "resume", "RS006") for name in (*BY_NAME,)),
    *((name, "step", to("four"), "resume", "ZE014") for name in ("without zero", *PARTITIONED)),
    *((name, "step", to(None), "resume", "no progress") for name in COUNTED),
    *((name, "step", to(GONE), "resume", "no progress") for name in COUNTED),
    ("lightning", "loops", to(GONE), "resume", "no progress"),
    ("lightning", "loops", to({}), "resume", "no progress"),
]
"""A save, its part, what becomes of that, the purpose, and what says so."""


def check_broken(folder, name, part, change, profile, named, verified):
    rewrite(folder, PARTS[name][part], change)
    code, verdict, wrong = verified(folder, profile, "values" if named.startswith("VL") else "layout")
    assert named in wrong
    assert (code, verdict == "COMPLETE") == (4, False)


@pytest.mark.long
@pytest.mark.parametrize(("name", "part", "change", "profile", "named"), BROKEN)
def test_every_law_that_is_broken_in_a_save_is_named(saved, verified, name, part, change, profile, named):
    check_broken(saved(name), name, part, change, profile, named, verified)


@pytest.mark.parametrize(("name", "part", "change", "profile", "named"), BROKEN[::4])
def test_a_law_that_is_broken_in_a_save_is_named(saved, verified, name, part, change, profile, named):
    check_broken(saved(name), name, part, change, profile, named, verified)


@pytest.mark.parametrize(
    ("name", "lost", "named"),
    [
        ("dcp", "__1_0.distcp", "CV001"),
        ("lightning", "__1_0.distcp", "CV001"),
        ("accelerate", "pytorch_model_fsdp_0/__1_0.distcp", "CV001"),
        ("zero 1", "bf16_zero_pp_rank_2_mp_rank_00_optim_states.pt", "ZE003"),
        ("zero 2", "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt", "ZE003"),
        ("zero 3", "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt", "ZE003"),
        ("experts", "layer_0_expert_1_mp_rank_00_model_states.pt", "PT009"),
        ("experts", "layer_1_expert_3_mp_rank_00_model_states.pt", "PT009"),
    ],
)
def test_what_a_lost_rank_or_expert_had_is_an_error(saved, verified, name, lost, named):
    folder = saved(name)
    (folder / lost).unlink()
    code, verdict, wrong = verified(folder, "inference")
    assert (code, verdict) == (4, "CORRUPT") and named in wrong


@pytest.fixture(scope="module")
def llama():
    """A small model of transformers, with its config: its names and sizes are what laws of blocks are about."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 24, "vocab_size": 40, "num_hidden_layers": 3}
    return LlamaForCausalLM(LlamaConfig(num_attention_heads=2, num_key_value_heads=1, **sizes))


def longer(model):
    return {n: torch.cat([t, t[:1]]) if "embed_tokens" in n else t for n, t in model.items()}


def without(word):
    return lambda model: {name: tensor for name, tensor in model.items() if word not in name}


@pytest.mark.parametrize("name", PLAIN)
def test_a_hole_among_blocks_is_an_error_and_a_whole_model_is_none(saved, verified, llama, name):
    folder, weights = saved(name), {n: t.clone() for n, t in llama.state_dict().items()}
    rewrite(folder, PARTS[name]["model"], to(weights))
    assert verified(folder, "inference")[:2] == (0, "COMPLETE")
    rewrite(folder, PARTS[name]["model"], without("layers.1."))
    code, _, wrong = verified(folder, "inference")
    assert code == 4 and "LW003" in wrong


@pytest.mark.parametrize(
    ("change", "named"),
    [(longer, "LW020"), (without("layers.2."), "LW022"), (without("lm_head"), "LW024"), (without("k_proj"), "LW004")],
)
@pytest.mark.parametrize("name", ["accelerate", "accelerate, full", "without zero"])
def test_weights_that_the_config_beside_them_does_not_make_are_an_error(saved, verified, llama, name, change, named):
    folder, weights = saved(name), {n: t.clone() for n, t in llama.state_dict().items()}
    if named == "LW004":
        weights |= {n: t for n, t in weights.items() if "k_proj" in n}
        change = without("layers.1.self_attn.k_proj")
    rewrite(folder, PARTS[name]["model"], to(weights))
    root = folder
    if name == "without zero":
        root = folder.parent / "root"
        shutil.copytree(folder, root / folder.name)
        folder = root / folder.name
        (root / "latest").write_text(folder.name)
    llama.config.architectures = ["LlamaForCausalLM"]
    llama.config.save_pretrained(root)
    assert verified(root, "inference")[:2] == (0, "COMPLETE")
    rewrite(folder, PARTS[name]["model"], change)
    code, _, wrong = verified(root, "inference")
    assert code == 4 and named in wrong


@pytest.mark.parametrize("change", [prefixed("module."), prefixed("_orig_mod."), without("3.bias")])
def test_torch_itself_does_not_load_what_is_named(saved, change):
    folder = saved("dcp")
    net = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Dropout(0.2), torch.nn.Linear(5, 3))
    load_dcp(folder, net)
    rewrite(folder, PARTS["dcp"]["model"], change)
    with pytest.raises((CheckpointException, RuntimeError)):
        load_dcp(folder, net)


@without_a_word
def load_dcp(folder, net):
    dcp.load({"model": net.state_dict()}, checkpoint_id=str(folder), no_dist=True)


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod."])
def test_names_that_the_optimizer_has_with_the_wrapper_too_are_a_warning(saved, verified, wrapper):
    folder = saved("dcp")
    rewrite(folder, PARTS["dcp"]["model"], prefixed(wrapper))
    rewrite(folder, PARTS["dcp"]["optimizer"], wrapped_states(wrapper))
    code, verdict, wrong = verified(folder, "resume")
    assert (code, verdict) == (0, "COMPLETE") and not wrong


def wrapped_states(wrapper):
    def change(optimizer):
        groups = [{**g, "params": [f"{wrapper}{name}" for name in g["params"]]} for g in optimizer["param_groups"]]
        return {"state": prefixed(wrapper)(optimizer["state"]), "param_groups": groups}

    return change
