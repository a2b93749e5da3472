"""MiniLLM: locate as a command with a hundred files in each place; a stage's weights loaded into a model."""

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.timing import command, measure, report

_MAKE = """
import torch
from pathlib import Path
folder = Path({folder!r})
for place in ("remote", "out"):
    (folder / place).mkdir()
    for number in range(100):
        (folder / place / f"run{{number}}_512.pth").write_bytes(b"x")
tensors = {{"model.embed_tokens.weight": torch.randn(6400, 512)}}
for i in range(8):
    at = f"model.layers.{{i}}."
    for part, shape in dict(q=(512, 512), k=(128, 512), v=(128, 512), o=(512, 512)).items():
        tensors[f"{{at}}self_attn.{{part}}_proj.weight"] = torch.randn(*shape)
    for part, shape in dict(gate=(1408, 512), up=(1408, 512), down=(512, 1408)).items():
        tensors[f"{{at}}mlp.{{part}}_proj.weight"] = torch.randn(*shape)
    tensors[f"{{at}}input_layernorm.weight"] = torch.ones(512)
    tensors[f"{{at}}post_attention_layernorm.weight"] = torch.ones(512)
tensors["model.norm.weight"] = torch.ones(512)
torch.save(tensors, folder / "out/full_sft_512.pth")
torch.save({{name: tensor.half() for name, tensor in tensors.items()}}, folder / "out/half_512.pth")
torch.save({{"model.norm.weight": torch.ones(512)}}, folder / "out/tiny_512.pth")
"""

_MODEL = """
import torch
from ckpt_minillm import CheckpointLoader
path = {path!r}
tiny = torch.nn.Module(); tiny.model = torch.nn.Module(); tiny.model.norm = torch.nn.LayerNorm(512, bias=False)
for _ in range(2):  # what is imported on first use
    CheckpointLoader.load_checkpoint(tiny, path.rpartition("/")[0] + "/tiny_512.pth", device="cpu")
    tiny.load_state_dict(torch.load(path.rpartition("/")[0] + "/tiny_512.pth", map_location="cpu"))
model = torch.nn.Module()
for name, tensor in torch.load(path).items():
    at = model
    *folders, leaf = name.split(".")
    for folder in folders:
        if not hasattr(at, folder): at.add_module(folder, torch.nn.Module())
        at = getattr(at, folder)
    at.register_parameter(leaf, torch.nn.Parameter(torch.ones(tensor.shape)))  # touched, as an initialised model is
"""


def main() -> None:
    """Measure in a folder of its own: 26 million parameters, as minimind's small model has."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", _MAKE.format(folder=folder)], check=True)
        _locate(folder)
        for name, what in (("full_sft_512.pth", "float32"), ("half_512.pth", "float16, cast")):
            _load(f"{folder}/out/{name}", what)


def _locate(folder: str) -> None:
    ckpt = str(Path(sys.executable).with_name("ckpt"))
    places = ["--hint", f"remote_dir={folder}/remote", "--hint", f"local_dir={folder}/out"]
    bare = command([sys.executable, "-c", "pass"])
    ours = command([ckpt, "locate", "sft", "--hint", "hidden_size=512", *places, "-q"])
    bare = min(bare, command([sys.executable, "-c", "pass"]))
    report("ckpt locate STAGE, 100 files in each place", ours, {"bare python": bare}, {"bare python": 8})


def _load(path: str, what: str) -> None:
    done = measure(
        _MODEL.format(path=path),
        {
            "ours": "CheckpointLoader.load_checkpoint(model, path, device='cpu')",
            "torch.load + load_state_dict": "model.load_state_dict(torch.load(path, map_location='cpu'))",
        },
        prime=256 << 20,
    )
    peer = "torch.load + load_state_dict"
    report(
        f"MiniLLM weights into a model, {what}",
        done["ours"].seconds,
        {peer: done[peer].seconds},
        {peer: 0.5},
        anonymous_bytes=done["ours"].anonymous,
        peer_anonymous_bytes=done[peer].anonymous,
    )


if __name__ == "__main__":
    main()
