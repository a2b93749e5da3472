"""What diffusers itself saves: pipelines, components, averages, LoRAs and trainings, and each part of them missing."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import ckpt_core
from ckpt_core import UsageError

MAKER = "diffusers_runs.py"
UNET = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="session")
def saves(made):
    return made(MAKER)


@pytest.fixture
def pipeline(saves, tmp_path, llama):
    """A pipeline with a text encoder and a tokenizer as transformers saves them, and one component left out."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    folder = shutil.copytree(saves / "pipe", tmp_path / "pipe")
    llama.save_pretrained(folder / "text_encoder")
    words = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(folder / "tokenizer")
    index = json.loads((folder / "model_index.json").read_text())
    index["text_encoder"] = ["transformers", "LlamaForCausalLM"]
    index["tokenizer"] = ["transformers", "PreTrainedTokenizerFast"]
    index["safety_checker"] = [None, None]
    index["requires_safety_checker"] = False
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def detect(place):
    files = ckpt_core.list_files(str(place))
    return ckpt_core.get_plugin_manager().hooks.detect_format(files=files)


def members(found):
    return [match.root for match in found.members if match.format not in ("safetensors", "torch")]


def labels(place, **options):
    return {component.label for component in ckpt_core.load(str(place), options=options).manifest.components}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("pipe", {"model:unet", "config", "config:scheduler", "config:unet"}),
        ("fp16", {"model:unet", "config", "config:scheduler", "config:unet"}),
        ("pipe/unet", {"model", "config"}),
        ("sharded", {"model", "config"}),
        ("ema", {"ema", "config"}),
    ],
)
def test_what_diffusers_saves_is_complete_to_compute_with(saves, assessed, kind, expected):
    found = detect(saves / kind)
    assert (found.best.format, found.rivals, members(found)) == ("diffusers", (), [])
    assert labels(saves / kind) == expected
    assert assessed(saves / kind, "inference")[0] == "COMPLETE"
    assert assessed(saves / kind, "resume")[0] == "PARTIAL"


def test_the_tensors_are_those_that_diffusers_saved(saves):
    checkpoint = ckpt_core.load(str(saves / "pipe"))
    saved = load_file(saves / "pipe" / "unet" / UNET)
    assert set(checkpoint.component("model:unet").tensors) == set(saved)
    for name, tensor in saved.items():
        assert bytes(checkpoint.read("model:unet", name)) == tensor.numpy().tobytes()


def test_a_variant_of_a_component_is_chosen(saves, tmp_path):
    folder = shutil.copytree(saves / "pipe" / "unet", tmp_path / "unet")
    shutil.copy(saves / "fp16" / "unet" / "diffusion_pytorch_model.fp16.safetensors", folder)
    [role] = [r for r in ckpt_core.load(str(folder), options={"variant": "fp16"}).manifest.roles if r.kind == "model"]
    assert role.where == "diffusion_pytorch_model.fp16.safetensors"


@pytest.fixture
def variants(saves, tmp_path):
    """A pipeline whose UNet has plain weights and a variant, and whose second model has plain weights alone."""
    folder = shutil.copytree(saves / "pipe", tmp_path / "pipe")
    shutil.copytree(saves / "pipe" / "unet", folder / "prior")
    halves = {name: tensor.half() for name, tensor in load_file(folder / "unet" / UNET).items()}
    save_file(halves, folder / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"prior": index["unet"]}))
    return folder


def test_a_variant_is_read_of_each_model_of_a_pipeline_that_has_it_as_diffusers_does(variants):
    checkpoint = ckpt_core.load(str(variants), options={"variant": "fp16"})
    types = {c.label: {o.dtype.code for _, o in c.tensors.infos()} for c in checkpoint.manifest.components}
    assert (types["model:unet"], types["model:prior"]) == ({"F16"}, {"F32"})
    [said] = [finding for finding in checkpoint.manifest.findings if finding.code == "CK023"]
    assert said.path == "prior" and "opened without options={'variant': 'fp16'}" in said.message
    with pytest.raises(UsageError, match="no weights of variant int8"):
        ckpt_core.load(str(variants), options={"variant": "int8"})


def test_a_variant_of_a_pipeline_is_converted(variants, tmp_path):
    made = tmp_path / "unet.safetensors"
    ckpt_core.convert(str(variants), str(made), components=["model:unet"], options={"variant": "fp16"})
    expected = load_file(variants / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    assert {name: tensor.dtype for name, tensor in load_file(made).items()} == dict.fromkeys(expected, torch.float16)


@pytest.mark.parametrize(
    ("gone", "label"),
    [
        ("unet/" + UNET, "model:unet"),
        ("unet/config.json", "config:unet"),
        ("unet", "model:unet"),
        ("text_encoder/model.safetensors", "model:text_encoder"),
        ("text_encoder", "model:text_encoder"),
        ("tokenizer", "tokenizer:tokenizer"),
        ("tokenizer/tokenizer.json", "tokenizer:tokenizer"),
        ("scheduler", "config:scheduler"),
    ],
)
def test_a_component_that_is_gone_flips_its_own_line(pipeline, assessed, gone, label):
    assert assessed(pipeline, "inference")[0] == "COMPLETE"
    path = pipeline / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    verdict, lines = assessed(pipeline, "inference")
    assert verdict == "PARTIAL"
    assert [name for name, presence in lines.items() if presence == "absent"] == [label]


@pytest.mark.parametrize(
    "name", ["model_index.json", "unet/" + UNET, "scheduler/scheduler_config.json", "tokenizer/tokenizer.json"]
)
@pytest.mark.parametrize(("content", "code"), [(b"", "CK010"), (b"<!doctype html><p>404", "CK012")])
def test_what_lies_in_the_place_of_a_part_is_called_by_its_name(pipeline, name, content, code):
    (pipeline / name).write_bytes(content)
    report = ckpt_core.verify(str(pipeline), profile=ckpt_core.Profile.INFERENCE).report
    assert report.assessment.verdict.value == "CORRUPT"
    assert (code, name) in {(finding.code, finding.path) for finding in report.findings}


def test_an_index_that_names_a_place_outside_opens_nothing_there(pipeline, assessed):
    index = json.loads((pipeline / "model_index.json").read_text())
    index["../../unet"] = ["diffusers", "UNet2DModel"]
    (pipeline / "model_index.json").write_text(json.dumps(index))
    assert assessed(pipeline, "inference")[1]["model:../../unet"] == "absent"


def test_a_training_has_models_averages_and_the_state_of_accelerate(saves, assessed):
    folder = saves / "run" / "checkpoint-4"
    found = detect(folder)
    assert (found.best.format, found.best.step, found.rivals, members(found)) == ("diffusers", 4, (), [])
    assert {"model:unet", "ema:unet", "optimizer", "scheduler", "rng:0"} <= labels(folder)
    for profile in ("inference", "resume"):
        assert assessed(folder, profile)[0] == "COMPLETE"
    assert assessed(folder)[1]["sampler"] == "absent"


@pytest.mark.parametrize(
    ("gone", "label"),
    [
        ("unet", "model:unet"),
        ("unet/" + UNET, "model:unet"),
        ("unet/config.json", "config:unet"),
        ("unet_ema/" + UNET, "ema:unet"),
        ("optimizer.bin", "optimizer"),
        ("scheduler.bin", "scheduler"),
    ],
)
def test_a_part_of_a_training_that_is_gone_flips_its_own_line(saves, copy_of, assessed, gone, label):
    folder = copy_of(saves / "run" / "checkpoint-4")
    shutil.rmtree(folder / gone) if (folder / gone).is_dir() else (folder / gone).unlink()
    verdict, lines = assessed(folder, "resume")
    assert verdict == "PARTIAL"
    assert [name for name, presence in lines.items() if presence == "absent"] == [label]


@pytest.mark.long
def test_what_is_complete_diffusers_draws_with_and_trains_on_from(saves, copy_of, maker):
    run = copy_of(saves / "run")
    (run / "checkpoint-4" / "unet_ema" / UNET).write_bytes(b"")
    found = ckpt_core.locate(str(run), profile="resume").require()
    assert found.url == str(run / "checkpoint-2")
    used = json.loads(maker(MAKER, "use", saves / "pipe", found.url).rpartition("USED ")[2])
    outcome = json.loads((saves / "outcome.json").read_text())
    assert used == {"drawn": outcome["drawn"], "losses": outcome["losses"][2:]}


def test_a_lora_is_an_adapter_by_itself_and_in_a_training(saves, copy_of, tmp_path):
    lora = {"unet.to_q.lora_A.weight": torch.ones(2, 2), "unet.to_q.lora_B.weight": torch.ones(2, 2)}
    (tmp_path / "lora").mkdir()
    save_file(lora, tmp_path / "lora" / "pytorch_lora_weights.safetensors")
    assert detect(tmp_path / "lora").best.format == "diffusers"
    assert labels(tmp_path / "lora") == {"adapter"}
    folder = copy_of(saves / "run" / "checkpoint-4")
    for name in ("unet", "unet_ema"):
        shutil.rmtree(folder / name)
    shutil.copy(tmp_path / "lora" / "pytorch_lora_weights.safetensors", folder)
    found = detect(folder)
    assert (found.best.format, found.rivals) == ("diffusers", ())
    assert {"adapter", "optimizer", "scheduler", "rng:0"} == labels(folder)


def test_a_training_without_its_models_is_accelerates_and_lacks_them(saves, copy_of, assessed):
    folder = copy_of(saves / "run" / "checkpoint-4")
    for name in ("unet", "unet_ema"):
        shutil.rmtree(folder / name)
    assert detect(folder).best.format == "accelerate"
    assert assessed(folder, "inference")[0] == "PARTIAL"
