"""Files of Lightning's and saves of Accelerate's are whole for their purpose; each broken law in them is named."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import ckpt_core
from ckpt_core.cli.main import main

SAVES = {
    "lightning": ("lightning_runs.py", "full/epoch=1-step=8.ckpt", "resume"),
    "lightning, two optimizers": ("lightning_runs.py", "two/epoch=0-step=8.ckpt", "resume"),
    "lightning, averaged": ("lightning_runs.py", "averaged/epoch=0-step=4.ckpt", "resume"),
    "lightning, weights": ("lightning_runs.py", "weights/epoch=0-step=4.ckpt", "inference"),
    "accelerate": ("accelerate_runs.py", "plain/checkpoints/checkpoint_1", "resume"),
    "accelerate, two": ("accelerate_runs.py", "two/checkpoints/checkpoint_1", "exact-resume"),
    "accelerate, bin": ("accelerate_runs.py", "bin/checkpoints/checkpoint_1", "resume"),
}
LIGHTNING = {
    "model": ("", "state_dict"),
    "optimizer": ("", "optimizer_states", 0),
    "optimizers": ("", "optimizer_states"),
    "step": ("", "global_step"),
    "loops": ("", "loops"),
}
OF_ACCELERATE = {"optimizer": ("optimizer.bin",), "rng": ("random_states_0.pkl",)}
PARTS = {
    "lightning": LIGHTNING,
    "lightning, two optimizers": {**LIGHTNING, "optimizer": ("", "optimizer_states", 1)},
    "lightning, averaged": {**LIGHTNING, "model": ("", "current_model_state")},
    "lightning, weights": {"model": ("", "state_dict")},
    "accelerate": {"model": ("model.safetensors",), **OF_ACCELERATE},
    "accelerate, two": {
        "model": ("model_1.safetensors",),
        "optimizer": ("optimizer_1.bin",),
        "rng": ("random_states_0.pkl",),
        "step": ("custom_checkpoint_0.pkl", "step"),
    },
    "accelerate, bin": {"model": ("pytorch_model.bin",), **OF_ACCELERATE},
}
"""The file where each part is, and the keys that lead to it."""

GONE = object()


@pytest.fixture
def saved(made, tmp_path):
    def copy(name):
        maker, path, _ = SAVES[name]
        source = made(maker) / path
        return Path((shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / source.name))

    return copy


def rewrite(place, part, change):
    """Write a part anew, with the tool that wrote it."""
    file, *keys = part
    path = place / file if file else place
    is_safetensors = path.suffix == ".safetensors"
    tree = {"": load_file(path) if is_safetensors else torch.load(path, weights_only=False)}
    holder, last = tree, ""
    for key in keys:
        holder, last = holder[last], key
    new = change(holder[last])
    if new is GONE:
        del holder[last]
    else:
        holder[last] = new
    save_file(tree[""], path, {"format": "pt"}) if is_safetensors else torch.save(tree[""], path)


@pytest.fixture
def verified(capsys):
    """`verified(place, profile, depth)`: exit code, verdict, and what is wrong: codes, and components that lack."""

    def verify(place, profile, depth="layout"):
        capsys.readouterr()
        code = main(["verify", str(place), "--for", profile, "--depth", depth, "--json"])
        said = json.loads(capsys.readouterr().out)
        assessment = said["result"]["assessment"]
        errors = {finding["code"] for finding in said["findings"] if finding["severity"] == "error"}
        lines = assessment["components"]
        lacking = {f"no {line['component'].partition(':')[0]}" for line in lines if line["presence"] == "absent"}
        return code, assessment["verdict"], errors | lacking

    return verify


@pytest.mark.parametrize("depth", ["layout", "values"])
@pytest.mark.parametrize("name", SAVES)
def test_what_each_tool_saves_is_complete_without_a_word(made, name, depth):
    maker, path, profile = SAVES[name]
    for purpose in {"inference", profile}:
        report = ckpt_core.verify(
            str(made(maker) / path), profile=ckpt_core.Profile(purpose), depth=ckpt_core.Depth[depth.upper()]
        ).report
        assert report.assessment.verdict.value == "COMPLETE"
        assert [finding for finding in report.findings if finding.severity > 0] == []


@pytest.mark.parametrize("name", SAVES)
def test_a_save_that_is_written_anew_as_it_was_is_complete(saved, verified, name):
    place = saved(name)
    for part in PARTS[name].values():
        rewrite(place, part, lambda value: value)
    assert verified(place, SAVES[name][2], "values")[:2] == (0, "COMPLETE")


def prefixed(prefix):
    return lambda model: {f"{prefix}{name}": tensor for name, tensor in model.items()}


def matrix(change):
    """Change the first tensor of two dimensions that is no row."""

    def of(model):
        name = next(name for name, tensor in model.items() if tensor.ndim == 2 and min(tensor.shape) > 1)
        return {**model, name: change(model[name])}

    return of


def full_of(value):
    return matrix(lambda tensor: torch.full_like(tensor, value))


def emptied(model):
    return {name: torch.empty(0) for name in model}


def of_another(_):
    net = torch.nn.Linear(9, 4)
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.ones(9)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


def stateless(optimizer):
    return {**optimizer, "state": {}}


def to(value):
    return lambda _: value


def short(states):
    return {**states, "torch_manual_seed": states["torch_manual_seed"][:9].clone()}


def short_of_numpy(states):
    kind, words, *rest = states["numpy_random_seed"]
    return {**states, "numpy_random_seed": (kind, words[:9], *rest)}


TRAINED = [name for name in SAVES if "weights" not in name]
OF_LIGHTNING = [name for name in TRAINED if "lightning" in name]
ACCELERATED = [name for name in SAVES if "accelerate" in name]

BROKEN = [
    *((name, "model", prefixed(p), "inference", "LW002") for name in OF_LIGHTNING for p in ("module.", "_orig_mod.")),
    *((name, "model", prefixed("_forward_module."), "inference", "LW002") for name in OF_LIGHTNING),
    *((name, "model", emptied, "inference", "LW001") for name in SAVES),
    *((name, "model", matrix(lambda t: torch.empty(0)), "inference", "LW001") for name in SAVES),
    *((name, "model", full_of(float("nan")), "inference", "VL001") for name in SAVES),
    *((name, "model", full_of(float("-inf")), "inference", "VL002") for name in SAVES),
    *((name, "model", full_of(0.0), "inference", "VL003") for name in SAVES),
    *((name, "optimizer", to("AdamW"), "resume", "RS002") for name in TRAINED),
    *((name, "optimizer", stateless, "resume", "RS003") for name in TRAINED if "two optimizers" not in name),
    *((name, "optimizer", of_another, "resume", "RS004") for name in TRAINED),
    *((name, "optimizers", to([]), "resume", "no optimizer") for name in OF_LIGHTNING),
    *((name, "optimizers", to("AdamW"), "resume", "no optimizer") for name in OF_LIGHTNING),
    *((name, "rng", short, "exact-resume", "RS005") for name in ACCELERATED),
    *((name, "rng", short_of_numpy, "exact-resume", "RS005") for name in ACCELERATED),
    *((name, "rng", dict.fromkeys, "exact-resume", "no rng") for name in ACCELERATED),
    *((name, "step", to("four"), "resume", "RS006") for name in (*OF_LIGHTNING, "accelerate, two")),
    *((name, "step", to(True), "resume", "RS006") for name in (*OF_LIGHTNING, "accelerate, two")),
    *((name, "loops", to(GONE), "resume", "no progress") for name in OF_LIGHTNING),
    ("accelerate, two", "step", to(None), "resume", "no progress"),
    ("accelerate, two", "step", to(GONE), "resume", "no progress"),
]
"""A save, its part, what becomes of that, the purpose, and what says so.

Of Lightning's step the loops are the truth: without `global_step` beside them the Trainer goes on as if it were there.
"""


def check_broken(place, name, part, change, profile, named, verified):
    rewrite(place, PARTS[name][part], change)
    code, verdict, wrong = verified(place, profile, "values" if named.startswith("VL") else "layout")
    assert named in wrong
    assert (code, verdict == "COMPLETE") == (4, False)


@pytest.mark.long
@pytest.mark.parametrize(("name", "part", "change", "profile", "named"), BROKEN)
def test_every_law_that_is_broken_in_a_save_is_named(saved, verified, name, part, change, profile, named):
    check_broken(saved(name), name, part, change, profile, named, verified)


@pytest.mark.parametrize(("name", "part", "change", "profile", "named"), BROKEN[::4])
def test_a_law_that_is_broken_in_a_save_is_named(saved, verified, name, part, change, profile, named):
    check_broken(saved(name), name, part, change, profile, named, verified)


@pytest.mark.parametrize("name", ["accelerate", "accelerate, bin"])
def test_names_that_accelerate_saves_of_a_wrapped_model_are_a_warning(saved, verified, name):
    place = saved(name)
    rewrite(place, PARTS[name]["model"], prefixed("module."))
    assert verified(place, "resume")[:2] == (0, "COMPLETE")  # load_state gives them to the wrapped model


def without(word):
    return lambda model: {name: tensor for name, tensor in model.items() if word not in name}


@pytest.mark.parametrize("name", ["lightning", "lightning, weights", "accelerate", "accelerate, bin"])
def test_a_hole_among_blocks_is_an_error_and_a_whole_model_is_none(saved, verified, llama, name):
    place, prefix = saved(name), "net." if "lightning" in name else ""
    rewrite(place, PARTS[name]["model"], to({f"{prefix}{n}": t.clone() for n, t in llama.state_dict().items()}))
    assert verified(place, "inference")[:2] == (0, "COMPLETE")
    rewrite(place, PARTS[name]["model"], without("layers.1."))
    code, _, wrong = verified(place, "inference")
    assert code == 4 and "LW003" in wrong


def longer(model):
    return {n: torch.cat([t, t[:1]]) if "embed_tokens" in n else t for n, t in model.items()}


@pytest.mark.parametrize(
    ("change", "named"), [(longer, "LW020"), (without("layers.2."), "LW022"), (without("lm_head"), "LW024")]
)
@pytest.mark.parametrize("name", ["accelerate", "accelerate, bin"])
def test_weights_that_the_config_beside_them_does_not_make_are_an_error(saved, verified, llama, name, change, named):
    place = saved(name)
    rewrite(place, PARTS[name]["model"], to({n: t.clone() for n, t in llama.state_dict().items()}))
    config = {**llama.config.to_dict(), "architectures": ["LlamaForCausalLM"]}
    (place / "config.json").write_text(json.dumps(config))
    assert verified(place, "inference")[:2] == (0, "COMPLETE")
    rewrite(place, PARTS[name]["model"], change)
    code, _, wrong = verified(place, "inference")
    assert code == 4 and named in wrong
