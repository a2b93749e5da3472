"""What is read equals what transformers, torch and safetensors read, byte for byte."""

import json
import shutil
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ckpt_core
from ckpt_core import Depth, Files, LoadRequest, Severity


def assert_equal_to(state, checkpoint):
    import torch

    table = checkpoint.component("model").tensors
    assert set(table) == set(state)
    loaded = checkpoint.to_torch()
    for name, tensor in state.items():
        assert loaded[name].dtype is tensor.dtype
        assert torch.equal(loaded[name], tensor), name
        raw = tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        assert bytes(checkpoint.read("model", name)) == raw, name


def test_a_single_safetensors_file_is_read(single, llama):
    from safetensors.torch import load_file

    checkpoint = ckpt_core.load(str(single))
    assert_equal_to(load_file(single / "model.safetensors"), checkpoint)
    assert_equal_to(llama.state_dict(), checkpoint)
    assert checkpoint.manifest.metadata == {"format": "pt"}
    assert checkpoint.manifest.findings == ()


def test_shards_are_read_as_transformers_reads_them(sharded):
    from transformers import AutoModelForCausalLM

    assert len(list(sharded.glob("model-*.safetensors"))) > 2
    checkpoint = ckpt_core.load(str(sharded))
    assert_equal_to(AutoModelForCausalLM.from_pretrained(sharded).state_dict(), checkpoint)
    index = json.loads((sharded / "model.safetensors.index.json").read_text())
    assert checkpoint.manifest.metadata == {"format": "pt", "index": index["metadata"]}


@pytest.mark.parametrize("max_shard_size", [None, "12KB"])
def test_bin_files_are_read_as_torch_reads_them(tmp_path, llama, as_bin, max_shard_size):
    from transformers import AutoModelForCausalLM

    folder = as_bin(llama, tmp_path / "bin", max_shard_size)
    checkpoint = ckpt_core.load(str(folder))
    assert_equal_to(llama.state_dict(), checkpoint)
    assert_equal_to(AutoModelForCausalLM.from_pretrained(folder).state_dict(), checkpoint)
    assert checkpoint.component("model").state is None
    report = ckpt_core.verify(str(folder), depth=Depth.VALUES).report
    assert report.findings == ()


@pytest.mark.parametrize("max_shard_size", ["12KB", "1GB"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_variants_are_read(tmp_path, dtype, max_shard_size):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    kind = getattr(torch, dtype)
    model = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=2, n_head=2, vocab_size=32, n_positions=16)).to(kind)
    model.save_pretrained(tmp_path, variant="half", max_shard_size=max_shard_size)
    state = {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    checkpoint = ckpt_core.load(str(tmp_path), options={"variant": "half"})
    assert_equal_to(state, checkpoint)
    assert checkpoint.manifest.findings == ()


def test_the_only_variant_is_read_and_said(single, llama):
    (single / "model.safetensors").rename(single / "model.fp16.safetensors")
    checkpoint = ckpt_core.load(str(single))
    assert_equal_to(llama.state_dict(), checkpoint)
    (finding,) = checkpoint.manifest.findings
    assert (finding.code, finding.severity) == ("HF012", Severity.INFO)
    assert "fp16" in finding.message


def test_the_plain_weights_win_over_variants_that_are_not_asked_for(single):
    shutil.copy(single / "model.safetensors", single / "model.fp16.safetensors")
    plain = ckpt_core.load(str(single))
    assert next(iter(plain.component("model").tensors.infos()))[1].path == "model.safetensors"
    asked = ckpt_core.load(str(single), options={"variant": "fp16"})
    assert next(iter(asked.component("model").tensors.infos()))[1].path == "model.fp16.safetensors"


def test_several_variants_and_no_plain_weights_must_be_chosen_from(single):
    shutil.copy(single / "model.safetensors", single / "model.fp16.safetensors")
    (single / "model.safetensors").rename(single / "model.bf16.safetensors")
    with pytest.raises(ckpt_core.UsageError, match="bf16, fp16") as caught:
        ckpt_core.load(str(single))
    assert caught.value.exit_code == 2


def test_an_unknown_variant_is_refused_with_those_there_are(single):
    with pytest.raises(ckpt_core.UsageError, match="no weights of variant fp8; there are: the plain one"):
        ckpt_core.load(str(single), options={"variant": "fp8"})


def test_safetensors_win_over_bin_and_it_is_said(single, llama, as_bin):
    import torch

    as_bin(llama, single)
    zeros = {name: torch.zeros_like(tensor) for name, tensor in llama.state_dict().items()}
    torch.save(zeros, single / "pytorch_model.bin")
    checkpoint = ckpt_core.load(str(single))
    assert_equal_to(llama.state_dict(), checkpoint)
    (finding,) = checkpoint.manifest.findings
    assert (finding.code, finding.severity) == ("HF011", Severity.INFO)
    assert "pytorch_model.bin" in finding.message


def test_a_tied_model_is_the_same_in_both_kinds_and_the_dropped_name_is_said(tmp_path, tied_llama, as_bin):
    tied_llama.save_pretrained(tmp_path / "st")
    as_bin(tied_llama, tmp_path / "bin")
    assert "lm_head.weight" not in ckpt_core.load(str(tmp_path / "st")).component("model").tensors
    report = ckpt_core.diff(str(tmp_path / "st"), str(tmp_path / "bin"), component="model")
    assert report.tied == {"model/lm_head.weight": "model.embed_tokens.weight"}
    assert report.identical
    assert report.compared == len(tied_llama.state_dict()) - 1


def test_the_config_is_a_component_and_every_other_file_an_asset(single):
    for name in ("tokenizer.json", "merges.txt", "spiece.model", "chat_template.jinja", "README.md", "ae.safetensors"):
        (single / name).write_text("x")
    (single / "1_Pooling").mkdir()
    (single / "1_Pooling" / "config.json").write_text("{}")
    (single / ".cache").mkdir()
    (single / ".cache" / "model.lock").write_text("")
    checkpoint = ckpt_core.load(str(single))
    config = checkpoint.component("config")
    assert config.state == json.loads((single / "config.json").read_text())
    assert len(config.tensors) == 0
    assets = [asset.path for asset in checkpoint.manifest.assets]
    listed = ["1_Pooling/config.json", "README.md", "ae.safetensors", "chat_template.jinja", "config.json"]
    assert assets == [*listed, "generation_config.json", "merges.txt", "spiece.model", "tokenizer.json"]


def test_plain_values_in_a_bin_stay_visible(tmp_path, llama, as_bin):
    import torch

    folder = as_bin(llama, tmp_path / "bin")
    torch.save({**llama.state_dict(), "step": 7}, folder / "pytorch_model.bin")
    checkpoint = ckpt_core.load(str(folder))
    assert checkpoint.component("model").state == {"step": 7}
    assert_equal_to(llama.state_dict(), checkpoint)


def test_a_real_sentence_transformer_is_read(minilm):
    from safetensors.torch import load_file

    checkpoint = ckpt_core.load(str(minilm))
    expected = load_file(minilm / "model.safetensors")
    assert len(expected) == 104
    assert_equal_to(expected, checkpoint)
    assert checkpoint.component("config").state["hidden_size"] == 384
    assert "1_Pooling/config.json" in [asset.path for asset in checkpoint.manifest.assets]
    assert ckpt_core.verify(str(minilm)).report.ok


class CountingFiles(Files):
    """A listing that writes down each read past a file's head."""

    def __init__(self, files):
        self._files = files
        self.location = files.location
        self.reads = []

    entries = property(lambda self: self._files.entries)
    skipped = property(lambda self: self._files.skipped)

    def head(self, path):
        return self._files.head(path)

    def read_into(self, path, offset, out):
        self.reads.append((path, offset, len(out)))
        self._files.read_into(path, offset, out)

    def read_many(self, ranges):
        self.reads += [(wanted.path, wanted.offset, wanted.length) for wanted in ranges]
        return self._files.read_many(ranges)

    def below(self, root):
        raise NotImplementedError


def test_load_reads_no_tensor(minilm):
    files = CountingFiles(ckpt_core.list_files(str(minilm)))
    hooks = ckpt_core.get_plugin_manager().hooks
    match = hooks.detect_format(files=files).best
    assert files.reads == []
    checkpoint = hooks.load(files=files, match=match, request=LoadRequest())
    assert [path for path, _, _ in files.reads] == ["config.json"]
    checkpoint.read("model", "embeddings.word_embeddings.weight")
    assert files.reads[-1][0] == "model.safetensors"


def test_a_model_elsewhere_is_read_by_ranges(sharded, llama):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(sharded), "/ckpt-hf-test", recursive=True)
    try:
        assert_equal_to(llama.state_dict(), ckpt_core.load("memory://ckpt-hf-test"))
    finally:
        memory.rm("/ckpt-hf-test", recursive=True)


class MeetingFiles(CountingFiles):
    """A remote listing that answers for no shard before it was asked for all of them."""

    def __init__(self, files, shards):
        super().__init__(files)
        self.location = ckpt_core.Location("memory://somewhere", files.location.kind)
        self.shards = shards
        self.meeting = threading.Barrier(len(shards), timeout=120)
        self.heads = {}

    def head(self, path):
        if path not in self.heads:
            if path in self.shards:
                self.meeting.wait()
            self.heads[path] = super().head(path)
        return self.heads[path]


def test_the_heads_of_remote_shards_are_asked_for_together(sharded):
    shards = {path.name for path in sharded.glob("model-*.safetensors")}
    files = MeetingFiles(ckpt_core.list_files(str(sharded)), shards)
    hooks = ckpt_core.get_plugin_manager().hooks
    match = ckpt_core.FormatMatch("hf", ckpt_core.Confidence.CERTAIN, "as the test says")
    assert hooks.load(files=files, match=match, request=LoadRequest()) is not None
    assert shards <= files.heads.keys()


def hub_cache(root, folder):
    """The cache layout of huggingface_hub: files are links from a snapshot to blobs."""
    repo = root / "models--org--name"
    snapshot = repo / "snapshots" / "0123abc"
    (repo / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(folder.iterdir())):
        shutil.move(file, repo / "blobs" / f"{number:064x}")
        (snapshot / file.name).symlink_to(f"../../blobs/{number:064x}")
    return snapshot


def test_the_hubs_cache_of_links_is_read(tmp_path, sharded, llama):
    snapshot = hub_cache(tmp_path / "hub", sharded)
    checkpoint = ckpt_core.load(str(snapshot))
    assert_equal_to(llama.state_dict(), checkpoint)
    assert ckpt_core.verify(str(snapshot)).report.findings == ()


def test_links_that_lead_elsewhere_are_not_followed(tmp_path, sharded):
    shard = next(iter(sorted(sharded.glob("*.safetensors"))))
    shard.rename(tmp_path / "elsewhere.safetensors")
    shard.symlink_to(tmp_path / "elsewhere.safetensors")
    with pytest.raises(ckpt_core.CorruptError, match="a link that leads out of the checkpoint") as caught:
        ckpt_core.load(str(sharded))
    assert (caught.value.code, caught.value.path) == ("HF001", shard.name)


def test_a_linked_single_file_says_why_it_is_not_read(tmp_path, single):
    (single / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    (single / "model.safetensors").symlink_to(tmp_path / "elsewhere.safetensors")
    with pytest.raises(ckpt_core.UnsupportedFormatError, match="a link that leads out of the checkpoint"):
        ckpt_core.load(str(single))


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(lambda name: name != "__metadata__")


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(names, st.tuples(st.integers(0, 4), st.binary(max_size=9)), min_size=1, max_size=12))
def test_however_tensors_are_spread_over_shards_the_same_is_read(tmp_path_factory, safetensors_bytes, spread):
    folder = tmp_path_factory.mktemp("spread")
    shards: dict[int, dict[str, bytes]] = {}
    for name, (shard, content) in spread.items():
        shards.setdefault(shard, {})[name] = content
    files = {s: f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i, s in enumerate(shards)}
    for shard, tensors in shards.items():
        (folder / files[shard]).write_bytes(safetensors_bytes(tensors))
    size = sum(len(content) for _, content in spread.values())
    weight_map = {name: files[shard] for name, (shard, _) in spread.items()}
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    checkpoint = ckpt_core.load(str(folder))
    assert set(checkpoint.component("model").tensors) == set(spread)
    for name, (_, content) in spread.items():
        assert bytes(checkpoint.read("model", name)) == content
    assert ckpt_core.verify(str(folder), depth=Depth.BYTES).report.findings == ()
