"""No two formats claim one directory equally, whichever plugins are installed; names decide, so files may be empty."""

import pytest

import ckpt_core

DCP = (".metadata", "__0_0.distcp", "__1_0.distcp")
MODEL = tuple(f"pytorch_model_fsdp_0/{name}" for name in DCP)
OPTIMIZER = tuple(f"optimizer_0/{name}" for name in DCP)
ACCELERATE = ("scheduler.bin", "random_states_0.pkl", "random_states_1.pkl", "sampler.bin", "scaler.pt")
TRAINER = ("trainer_state.json", "training_args.bin", "scheduler.pt", "rng_state_0.pth", "rng_state_1.pth")
SHARD = "shard-00001-model-00001-of-00001.safetensors"
JOINED = ("model-00001-of-00001.safetensors", "model.safetensors.index.json")

PLACES = {
    "dcp": (DCP, "dcp"),
    "dcp with other files": ((*DCP, "notes.txt", "train_state.pt"), "dcp"),
    "megatron": ((*DCP, "metadata.json", "common.pt"), "dcp"),
    "accelerate, sharded": ((*MODEL, *OPTIMIZER, *ACCELERATE), "fsdp"),
    "accelerate, model alone": (MODEL, "fsdp"),
    "accelerate, two models": ((*MODEL, *(path.replace("_0/", "_1/") for path in (*MODEL, *OPTIMIZER))), "fsdp"),
    "accelerate, full": (("pytorch_model_fsdp.bin", "optimizer.bin", *ACCELERATE), "fsdp"),
    "accelerate, flat": (("pytorch_model_fsdp_rank0.bin", "pytorch_model_fsdp_rank1.bin", *OPTIMIZER), "fsdp"),
    "accelerate, ranks": (
        ("pytorch_model_fsdp_0_rank0.bin", "pytorch_model_fsdp_0_rank1.bin", "optimizer_0_rank0.bin", *ACCELERATE),
        "fsdp-ranks",
    ),
    "accelerate, interrupted": (("pytorch_model_fsdp_0/__0_0.distcp", *ACCELERATE), "fsdp"),
    "trainer, sharded": ((*MODEL, *OPTIMIZER, *TRAINER), "hf-trainer"),
    "trainer, full": (
        ("config.json", "model.safetensors", "pytorch_model_fsdp.bin", "optimizer.bin", *TRAINER),
        "hf-trainer",
    ),
    "model with fsdp beside": (("config.json", "model.safetensors", *MODEL), "hf"),
    "lightning": ((*DCP, "meta.pt"), "lightning-fsdp"),
    "lightning, interrupted": (("__0_0.distcp", "meta.pt"), "lightning-fsdp"),
    "shards": ((SHARD, SHARD.replace("shard-00001", "shard-00002")), "dcp-safetensors"),
    "shards not joined": ((f"sharded/{SHARD}",), "dcp-safetensors"),
    "shards joined": ((f"sharded/{SHARD}", *JOINED), "hf"),
    "shards joined, with a config": ((f"sharded/{SHARD}", *JOINED, "config.json"), "hf"),
}


def fill(folder, names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x80torch.distributed.checkpoint.metadata" if name.endswith(".metadata") else b"")
    return folder


def detected(folder):
    files = ckpt_core.list_files(str(folder))
    return ckpt_core.get_plugin_manager().hooks.detect_format(files=files)


@pytest.mark.parametrize("place", PLACES)
def test_one_format_claims_a_directory(tmp_path, place):
    names, expected = PLACES[place]
    found = detected(fill(tmp_path / "x", names))
    assert not found.rivals and found.best is not None, [(m.format, m.confidence) for m in found.rivals]
    assert found.best.format == expected and found.best.evidence


@pytest.mark.parametrize(
    "names",
    [
        ("model.safetensors", "optimizer.bin", *ACCELERATE),
        ("optimizer.bin", "scheduler.bin"),
        OPTIMIZER,
        ("optimizer_0/notes.txt", *ACCELERATE),
        ("shard-1-model-1-of-1.safetensors",),
    ],
)
def test_what_only_looks_alike_is_not_claimed(tmp_path, names):
    found = detected(fill(tmp_path / "x", names))
    claims = {match.format for match in found.matches if match.root == ""}
    assert not claims & {"fsdp", "lightning-fsdp", "dcp-safetensors"}


def test_a_run_directory_lists_each_checkpoint_once(tmp_path):
    run = tmp_path / "run"
    for index, (names, _) in enumerate(PLACES.values()):
        fill(run / f"checkpoint-{index + 1}", names)
    members = [m for m in detected(run).members if m.root.count("/") == 0]
    assert sorted(m.step for m in members) == list(range(1, len(PLACES) + 1))
    by_step = {m.step: m.format for m in members}
    assert [by_step[index + 1] for index in range(len(PLACES))] == [expected for _, expected in PLACES.values()]


@pytest.mark.parametrize(
    ("name", "step"),
    [("checkpoint_3", 3), ("checkpoint-400", 400), ("epoch=1-step=8.ckpt", 8), ("last.ckpt", None), ("weights", None)],
)
def test_the_step_is_that_of_the_name(tmp_path, name, step):
    for names in ((*MODEL, *OPTIMIZER), (*DCP, "meta.pt"), (SHARD,), (f"sharded/{SHARD}",)):
        folder = tmp_path / str(len(names)) / names[-1].replace("/", "-") / name
        assert detected(fill(folder, names)).best.step == step
        assert [m.step for m in detected(folder.parent).members] == [step]
