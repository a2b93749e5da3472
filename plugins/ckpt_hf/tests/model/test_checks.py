"""Real directories broken in one way each: load refuses or says so, verify names it."""

import json
import re
import shutil
import time

import pytest
from ckpt_hf.weights.index import read_index
from hypothesis import given, settings
from hypothesis import strategies as st

import ckpt_core
from ckpt_core import CorruptError, Depth, Severity, UnsafeContentError

INDEX = "model.safetensors.index.json"


def shards_of(folder):
    return sorted(path.name for path in folder.glob("*-of-*"))


def tensors_in(folder, shard):
    weight_map = json.loads((folder / INDEX).read_text())["weight_map"]
    return [name for name, file in weight_map.items() if file == shard]


def test_healthy_models_have_no_findings(single, sharded, codes):
    assert codes(single, Depth.VALUES) == []
    assert codes(sharded, Depth.VALUES) == []


def test_a_missing_shard_is_named_with_what_it_held(sharded, codes):
    shard = shards_of(sharded)[1]
    count = len(tensors_in(sharded, shard))
    (sharded / shard).unlink()
    message = f"{shard}: the index names this file for {count} tensors, and it is missing"
    with pytest.raises(CorruptError, match=message) as caught:
        ckpt_core.load(str(sharded))
    assert (caught.value.code, caught.value.exit_code) == ("HF001", 4)
    assert codes(sharded) == ["HF001"]


def test_every_missing_shard_is_listed(sharded, hook_findings):
    gone = shards_of(sharded)[::2]
    for shard in gone:
        (sharded / shard).unlink()
    assert [finding.path for finding in hook_findings(sharded)["HF001"]] == gone


def test_a_tensor_that_its_shard_lacks_is_named(sharded, edit_index, codes):
    shard = shards_of(sharded)[0]
    edit_index(sharded, lambda index: index["weight_map"].update({"made.up": shard}))
    with pytest.raises(CorruptError, match=r"tensor made\.up") as caught:
        ckpt_core.load(str(sharded))
    assert (caught.value.code, caught.value.tensor, caught.value.path) == ("HF002", "made.up", shard)
    assert codes(sharded) == ["HF002"]


def test_swapped_shards_are_noticed(sharded, codes):
    first, second = shards_of(sharded)[:2]
    (sharded / first).rename(sharded / "x")
    (sharded / second).rename(sharded / first)
    (sharded / "x").rename(sharded / second)
    assert codes(sharded) == ["HF002"]


def test_a_tensor_that_the_index_does_not_name_is_an_error_and_stays_readable(sharded, edit_index, codes, llama):
    edit_index(sharded, lambda index: index["weight_map"].pop("model.norm.weight"))
    checkpoint = ckpt_core.load(str(sharded))
    (finding,) = checkpoint.manifest.findings
    assert (finding.code, finding.severity, finding.tensor) == ("HF003", Severity.ERROR, "model.norm.weight")
    assert set(checkpoint.component("model").tensors) == set(llama.state_dict())
    assert codes(sharded) == ["HF003"]


@pytest.mark.parametrize("value", [1, "26944", None, 1.5, True])
def test_a_total_size_that_is_not_the_sum_is_a_warning(sharded, edit_index, codes, value):
    edit_index(sharded, lambda index: index["metadata"].update(total_size=value))
    report = ckpt_core.verify(str(sharded)).report
    (finding,) = report.findings
    assert (finding.code, finding.severity) == ("HF004", Severity.WARNING)
    assert "total_size" in finding.message
    assert report.ok


def test_more_parameters_than_there_are_elements_is_a_warning(sharded, edit_index, codes):
    edit_index(sharded, lambda index: index["metadata"].update(total_parameters=10**9))
    assert codes(sharded) == ["HF004"]


def test_fewer_parameters_than_elements_are_fine_because_buffers_are_stored_too(sharded, edit_index, codes):
    edit_index(sharded, lambda index: index["metadata"].update(total_parameters=5))
    assert codes(sharded) == []


def test_an_index_without_metadata_is_fine(sharded, edit_index, codes):
    edit_index(sharded, lambda index: index.pop("metadata"))
    assert codes(sharded) == []


def test_tied_tensors_in_a_bin_count_once_or_twice(tmp_path, tied_llama, as_bin, codes):
    import torch

    folder = as_bin(tied_llama, tmp_path / "bin")
    state = tied_llama.state_dict()
    (folder / "pytorch_model.bin").unlink()
    torch.save(state, folder / "pytorch_model-00001-of-00001.bin")
    sizes = {name: tensor.numel() * 4 for name, tensor in state.items()}
    twice = sum(sizes.values())
    for total, expected in ((twice, []), (twice - sizes["lm_head.weight"], []), (twice - 4, ["HF004"])):
        weight_map = dict.fromkeys(state, "pytorch_model-00001-of-00001.bin")
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
        assert codes(folder) == expected


def test_a_tensor_in_two_shards_is_an_error_and_the_index_decides(sharded, llama):
    import torch
    from safetensors.torch import load_file, save_file

    first, second = shards_of(sharded)[:2]
    name = tensors_in(sharded, second)[0]
    tensors = load_file(sharded / first)
    tensors[name] = torch.zeros_like(llama.state_dict()[name])
    save_file(tensors, sharded / first, {"format": "pt"})
    checkpoint = ckpt_core.load(str(sharded))
    finding = next(finding for finding in checkpoint.manifest.findings if finding.code == "HF005")
    assert (finding.severity, finding.tensor, finding.path) == (Severity.ERROR, name, second)
    assert torch.equal(checkpoint.to_torch()[name], llama.state_dict()[name])


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"weight_map": {}}',
        '{"weight_map": []}',
        '{"weight_map": {"a": 1}}',
        '{"weight_map": {"a": null}}',
        '{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}',
        '{"weight_map": {"a": "x.safetensors"}, "weight_map": {"a": "y.safetensors"}}',
        '{"weight_map": {"a": "x.safetensors"}, "metadata": []}',
        '{"weight_map": {"a": "x.safetensors"}, "metadata": {"total_size": NaN}}',
        "[" * 100_000,
        '{"weight_map": {"a": "x.safetensors"}, "n": ' + "9" * 5000 + "}",
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 10\n",
        "<!doctype html><html></html>",
    ],
    ids=range(17),
)
def test_an_index_that_is_none_is_refused(sharded, content):
    (sharded / INDEX).write_text(content)
    with pytest.raises(CorruptError) as caught:
        ckpt_core.load(str(sharded))
    assert caught.value.path == INDEX
    assert caught.value.code in ("HF006", "CK010", "CK011", "CK012")
    assert not ckpt_core.verify(str(sharded)).report.ok


def test_an_index_larger_than_the_limit_is_refused_unread(sharded):
    with ckpt_core.knobs.override(header_limit=100), pytest.raises(CorruptError, match="more than an index may have"):
        read_index(ckpt_core.list_files(str(sharded)), INDEX)


@pytest.mark.parametrize(
    "name",
    [
        "../outside.safetensors",
        "..",
        ".",
        "",
        "/etc/passwd",
        "/dev/zero",
        "sub/model.safetensors",
        "..\\outside.safetensors",
        "C:\\model.safetensors",
        "https://example.com/model.safetensors",
        "file:///etc/passwd",
        "model.safetensors\0.txt",
        "x" * 256,
    ],
)
def test_a_name_that_is_more_than_a_name_is_never_opened(tmp_path, sharded, edit_index, hook_findings, name):
    shutil.copy(sharded / shards_of(sharded)[0], tmp_path / "outside.safetensors")
    shard = shards_of(sharded)[0]
    edit_index(sharded, lambda index: index["weight_map"].update(dict.fromkeys(tensors_in(sharded, shard), name)))
    with pytest.raises(UnsafeContentError) as caught:
        ckpt_core.load(str(sharded))
    assert (caught.value.code, caught.value.exit_code) == ("HF007", 7)
    (finding,) = hook_findings(sharded)["HF007"]
    assert finding.path == INDEX
    assert finding.message.isprintable()


def test_unsafe_names_come_before_what_is_merely_broken(sharded, edit_index):
    (sharded / shards_of(sharded)[0]).unlink()
    edit_index(sharded, lambda index: index["weight_map"].update({"z": "../z.safetensors"}))
    with pytest.raises(UnsafeContentError):
        ckpt_core.load(str(sharded))


def test_an_index_that_names_itself_is_refused(sharded, edit_index):
    edit_index(sharded, lambda index: index["weight_map"].update({"z": INDEX}))
    with pytest.raises(CorruptError):
        ckpt_core.load(str(sharded))


def test_shards_without_index_are_joined_and_it_is_said(sharded, llama, codes):
    (sharded / INDEX).unlink()
    checkpoint = ckpt_core.load(str(sharded))
    assert set(checkpoint.component("model").tensors) == set(llama.state_dict())
    assert codes(sharded) == ["HF013"]


def test_shards_without_index_that_are_not_all_there_are_refused(sharded, codes):
    (sharded / INDEX).unlink()
    *_, last = shards_of(sharded)
    (sharded / last).unlink()
    with pytest.raises(CorruptError, match="and no index") as caught:
        ckpt_core.load(str(sharded))
    assert caught.value.code == "HF008"
    assert codes(sharded) == ["HF008"]


def test_an_index_that_leaves_a_numbered_shard_out_is_an_error(sharded, edit_index, codes):
    *_, last = shards_of(sharded)

    def cut(index):
        index["weight_map"] = {name: file for name, file in index["weight_map"].items() if file != last}

    edit_index(sharded, cut)
    assert set(codes(sharded)) == {"HF008", "HF009", "HF004"}


def test_a_stale_shard_is_a_warning(sharded, codes):
    shutil.copy(sharded / shards_of(sharded)[0], sharded / "model-00009-of-00009.safetensors")
    report = ckpt_core.verify(str(sharded)).report
    (finding,) = report.findings
    assert (finding.code, finding.severity) == ("HF009", Severity.WARNING)
    assert finding.path == "model-00009-of-00009.safetensors"


def test_shards_and_an_index_beside_a_single_file_are_stale(single, sharded, llama):
    for path in sharded.glob("*safetensors*"):
        shutil.copy(path, single)
    (single / shards_of(single)[0]).write_bytes(b"")
    report = ckpt_core.verify(str(single)).report
    assert {finding.code for finding in report.findings} == {"HF009"}
    assert len(report.findings) == len(shards_of(single)) + 1
    assert set(ckpt_core.load(str(single)).component("model").tensors) == set(llama.state_dict())


def test_an_index_of_the_single_file_is_checked_against_it(single, llama, codes):
    weight_map = dict.fromkeys(llama.state_dict(), "model.safetensors")
    (single / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    assert codes(single) == []
    (single / INDEX).write_text(json.dumps({"weight_map": {**weight_map, "z": "model.safetensors"}}))
    assert codes(single) == ["HF002"]


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff", b"", b"[" * 100_000])
def test_a_config_that_is_not_a_json_object_is_a_finding(single, codes, content):
    (single / "config.json").write_bytes(content)
    checkpoint = ckpt_core.load(str(single))
    assert [component.label for component in checkpoint.manifest.components] == ["model"]
    assert codes(single) == ["HF010"]


def test_a_huge_config_is_not_read(single, codes):
    with (single / "config.json").open("ab") as file:
        file.truncate(1 << 34)
    assert codes(single) == ["HF010"]


def test_a_repeated_key_in_a_config_is_tolerated(single, codes):
    (single / "config.json").write_text('{"model_type": "a", "model_type": "b"}')
    assert ckpt_core.load(str(single)).component("config").state == {"model_type": "b"}
    assert codes(single) == []


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "CK010"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 10\n", "CK011"),
        (b"<!DOCTYPE html><html>not found</html>", "CK012"),
        (bytes(1000), "CK013"),
    ],
)
def test_shards_that_are_something_else_are_each_named(sharded, hook_findings, content, code):
    broken = shards_of(sharded)[:2]
    for shard in broken:
        (sharded / shard).write_bytes(content)
    assert [finding.path for finding in hook_findings(sharded)[code]] == broken
    with pytest.raises(CorruptError) as caught:
        ckpt_core.load(str(sharded))
    assert (caught.value.code, caught.value.path) == (code, broken[0])


def test_a_truncated_shard_is_named(sharded, codes):
    shard = shards_of(sharded)[1]
    with (sharded / shard).open("r+b") as file:
        file.truncate((sharded / shard).stat().st_size - 1)
    with pytest.raises(CorruptError, match="truncated") as caught:
        ckpt_core.load(str(sharded))
    assert caught.value.path == shard
    assert codes(sharded) == ["ST007"]


def test_a_flipped_bit_in_a_bin_shard_is_found_from_the_bytes_depth_on(tmp_path, llama, as_bin, codes):
    folder = as_bin(llama, tmp_path / "bin", "12KB")
    shard = shards_of(folder)[0]
    name, info = next(iter(ckpt_core.load(str(folder)).component("model").tensors.infos()))
    assert info.path == shard, name
    data = bytearray((folder / shard).read_bytes())
    data[info.offset] ^= 1
    (folder / shard).write_bytes(data)
    assert codes(folder) == []
    assert codes(folder, Depth.BYTES) == ["ZP004"]


def test_a_pickle_that_would_run_code_is_refused(tmp_path, llama, as_bin):
    import torch

    class Evil:
        def __reduce__(self):
            return eval, ("print(1)",)

    folder = as_bin(llama, tmp_path / "bin")
    torch.save({"w": torch.zeros(2), "x": Evil()}, folder / "pytorch_model.bin")
    with pytest.raises(UnsafeContentError) as caught:
        ckpt_core.load(str(folder))
    assert caught.value.path == "pytorch_model.bin"


def test_an_index_of_300000_tensors_takes_a_second_or_two(tmp_path):
    shards = [f"model-{number:05d}-of-00300.safetensors" for number in range(1, 301)]
    weight_map = {f"model.layers.{i // 1000}.mlp.experts.{i}.weight": shards[i // 1000] for i in range(300_000)}
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    files = ckpt_core.list_files(str(tmp_path))
    started = time.process_time()
    index = read_index(files, INDEX)
    assert time.process_time() - started < 20
    assert [len(tensors) for tensors in index.shards.values()] == [1000] * 300
    with pytest.raises(CorruptError, match="for 1000 tensors"):
        ckpt_core.load(str(tmp_path))


def test_many_tensors_in_many_shards_are_joined(tmp_path, safetensors_bytes):
    weight_map = {}
    for number in range(1, 31):
        shard = f"model-{number:05d}-of-00030.safetensors"
        names = [f"model.layers.{number}.mlp.experts.{i}.weight" for i in range(1000)]
        weight_map.update(dict.fromkeys(names, shard))
        (tmp_path / shard).write_bytes(safetensors_bytes(dict.fromkeys(names, b"")))
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    assert set(ckpt_core.load(str(tmp_path)).component("model").tensors) == set(weight_map)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
indexes = st.fixed_dictionaries(
    {},
    optional={
        "weight_map": json_values | st.dictionaries(st.text(max_size=5), st.text(max_size=8) | json_values, max_size=4),
        "metadata": json_values,
    },
)


@settings(max_examples=80, deadline=None)
@given(indexes | json_values)
def test_whatever_an_index_says_the_answer_is_a_checkpoint_or_an_error_of_ours(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("index")
    (folder / INDEX).write_text(json.dumps(content))
    with pytest.raises((CorruptError, UnsafeContentError)):
        ckpt_core.load(str(folder))


def test_a_directory_taken_for_a_model_without_weights_says_so(tmp_path):
    (tmp_path / "ae.safetensors").write_bytes(b"x")
    with pytest.raises(CorruptError, match="no weights in it") as caught:
        ckpt_core.load(str(tmp_path), format="hf")
    assert caught.value.code == "HF014"


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
def test_a_config_that_says_another_type_than_the_weights_have_is_remarked(single, codes, key):
    config = json.loads((single / "config.json").read_text())
    config.pop("dtype", None)
    for said, expected in (("float32", []), ("bfloat16", ["HF015"]), ("auto", []), (7, [])):
        (single / "config.json").write_text(json.dumps({**config, key: said}))
        assert codes(single) == expected, said
    assert ckpt_core.verify(str(single)).report.ok


def test_each_finding_this_plugin_makes_is_tested_here():
    from pathlib import Path

    import ckpt_hf

    code = re.compile(r"\bHF\d{3}\b")
    made = {c for path in Path(ckpt_hf.__file__).parent.rglob("*.py") for c in code.findall(path.read_text())}
    tested = {c for path in Path(__file__).parents[1].rglob("*.py") for c in code.findall(path.read_text())}
    assert made == tested == {f"HF{number:03}" for number in range(1, 16)}
