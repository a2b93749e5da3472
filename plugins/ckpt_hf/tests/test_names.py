import pytest
from ckpt_hf.names import WeightName, group, parse, step_of
from ckpt_hf.weights.index import is_plain
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("model.safetensors", WeightName("model", "safetensors")),
        ("pytorch_model.bin", WeightName("pytorch_model", "bin")),
        ("model-00002-of-00003.safetensors", WeightName("model", "safetensors", "", 2, 3)),
        ("pytorch_model-00002-of-00003.bin", WeightName("pytorch_model", "bin", "", 2, 3)),
        ("model.safetensors.index.json", WeightName("model", "safetensors", is_index=True)),
        ("pytorch_model.bin.index.json", WeightName("pytorch_model", "bin", is_index=True)),
        ("model.fp16.safetensors", WeightName("model", "safetensors", "fp16")),
        ("model.fp16-00001-of-00002.safetensors", WeightName("model", "safetensors", "fp16", 1, 2)),
        ("model-00001-of-00002.fp16.safetensors", WeightName("model", "safetensors", "fp16", 1, 2)),
        ("model.safetensors.index.fp16.json", WeightName("model", "safetensors", "fp16", is_index=True)),
        ("model.fp16.safetensors.index.json", WeightName("model", "safetensors", "fp16", is_index=True)),
        ("ema.safetensors", WeightName("ema", "safetensors")),
        ("ema-00002-of-00003.safetensors", WeightName("ema", "safetensors", "", 2, 3)),
        ("diffusion_pytorch_model.non_ema.bin", WeightName("diffusion_pytorch_model", "bin", "non_ema")),
    ],
)
def test_a_weight_files_name_says_what_it_holds(name, meaning):
    assert parse(name) == meaning


@pytest.mark.parametrize(
    "name",
    [
        "model.bin",
        "pytorch_model.safetensors",
        "model_1.safetensors",
        "adapter_model.safetensors",
        "ema.bin",
        "ema_model.safetensors",
        "ae.safetensors",
        "shard-00001-model-00001-of-00001.safetensors",
        "pytorch_model_fsdp.bin",
        "model.safetensors.lock",
        "model.safetensors.index.json.bak",
        "model.a.safetensors.index.b.json",
        "xmodel.safetensors",
        "model.safetensors\n",
    ],
)
def test_other_files_are_not_weights_of_a_model_directory(name):
    assert parse(name) is None


@given(
    st.sampled_from(["model", "diffusion_pytorch_model"]),
    st.from_regex(r"[A-Za-z0-9_]{0,8}", fullmatch=True),
    st.integers(1, 99999),
    st.integers(1, 99999),
    st.booleans(),
)
def test_both_spellings_of_a_shard_of_a_variant_mean_the_same(stem, variant, number, count, late):
    suffix = f"-{number:05d}-of-{count:05d}"
    dotted = f".{variant}" if variant else ""
    name = f"{stem}{suffix}{dotted}.safetensors" if late else f"{stem}{dotted}{suffix}.safetensors"
    assert parse(name) == WeightName(stem, "safetensors", variant, number, count)


def test_what_transformers_opens_first_comes_first():
    names = ["model-00001-of-00001.safetensors", "pytorch_model.bin", "pytorch_model-00001-of-00001.bin"]
    assert [found.shown for found in group(names)] == ["pytorch_model.bin", "model-00001-of-00001.safetensors"]
    assert group([*names, "model.safetensors.index.json"])[0].shown == "model.safetensors.index.json"
    assert group([*names, "model.safetensors.index.json", "model.safetensors"])[0].shown == "model.safetensors"


@given(st.text(max_size=300))
def test_a_plain_name_is_one_component_of_a_path(name):
    plain = "/" not in name and "\\" not in name and "\0" not in name and name not in ("", ".", "..")
    assert is_plain(name) == (plain and len(name.encode("utf-8", "surrogatepass")) <= 255)


def test_the_step_is_read_from_a_trainers_folder_name():
    assert step_of("checkpoint-400") == 400
    assert step_of("checkpoint_400") is None
    assert step_of("my-checkpoint-400") is None
