"""What Accelerate saves under FSDP is read as its own tools read it; what cannot be put together is refused."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

import ckpt_core
from ckpt_core import CorruptError, Presence, UnsupportedFormatError

MAKER = "accelerate_save.py"
BESIDE = ["scheduler", "rng:0", "rng:1", "progress:custom_checkpoint_0"]


@pytest.fixture(scope="session")
def fsdp1(made):
    """Two models under FSDP1, SHARDED_STATE_DICT."""
    return made(MAKER, 2, 1, "SHARDED", 2)


@pytest.fixture(scope="session")
def fsdp2(made):
    return made(MAKER, 2, 2, "SHARDED", 1)


@pytest.fixture(scope="session")
def full(made):
    return made(MAKER, 2, 2, "FULL", 1)


@pytest.fixture(scope="session")
def local(made):
    return made(MAKER, 2, 1, "LOCAL", 1)


def last(saved):
    return saved / "checkpoints" / "checkpoint_1"


def labels(checkpoint):
    return [component.label for component in checkpoint.manifest.components]


def assert_equal(read, expected):
    assert read.keys() == expected.keys()
    for name, tensor in expected.items():
        assert read[name].dtype == tensor.dtype and torch.equal(read[name], tensor), name


def read_by_torch(folder):
    """A directory of DCP as torch's own tools put it together."""
    from torch.distributed.checkpoint import FileSystemReader
    from torch.distributed.checkpoint.format_utils import _EmptyStateDictLoadPlanner
    from torch.distributed.checkpoint.state_dict_loader import _load_state_dict

    state = {}
    _load_state_dict(state, storage_reader=FileSystemReader(folder), planner=_EmptyStateDictLoadPlanner(), no_dist=True)
    return state


def flat(tree, prefix=""):
    """The tensors of a tree by dotted path."""
    if isinstance(tree, torch.Tensor):
        return {prefix: tree}
    if not isinstance(tree, dict):
        return {}
    return {
        name: leaf for key, value in tree.items() for name, leaf in flat(value, f"{prefix}.{key}".lstrip(".")).items()
    }


@pytest.mark.parametrize(("kind", "numbers"), [pytest.param("fsdp1", (0, 1), marks=pytest.mark.long), ("fsdp2", (0,))])
def test_models_are_what_merge_fsdp_weights_makes_of_them(request, tmp_path, kind, numbers):
    from accelerate.utils import merge_fsdp_weights

    saved = request.getfixturevalue(kind)
    checkpoint = ckpt_core.load(str(last(saved)))
    for number in numbers:
        merge_fsdp_weights(str(last(saved) / f"pytorch_model_fsdp_{number}"), str(tmp_path / str(number)))
        read = checkpoint.to_torch("model" if number == 0 else f"model:{number}")
        assert_equal(read, load_file(tmp_path / str(number) / "model.safetensors"))
        assert_equal(read, torch.load(saved / "whole.pt", weights_only=True)[number])


@pytest.mark.parametrize(("kind", "number"), [("fsdp1", 0), ("fsdp1", 1), ("fsdp2", 0)])
def test_optimizers_are_what_torch_reads(request, kind, number):
    saved = request.getfixturevalue(kind)
    label = "optimizer" if number == 0 else f"optimizer:{number}"
    checkpoint = ckpt_core.load(str(last(saved)))
    stock = read_by_torch(last(saved) / f"optimizer_{number}")["optimizer"]
    assert_equal(checkpoint.to_torch(label), flat(stock))
    groups = checkpoint.component(label).state["param_groups"]
    assert (
        groups[0]["lr"] == stock["param_groups"][0]["lr"] and groups[0]["params"] == stock["param_groups"][0]["params"]
    )


def test_each_piece_has_its_component(fsdp1, fsdp2):
    two = labels(ckpt_core.load(str(last(fsdp1))))
    assert two == ["model", "model:1", "optimizer", "optimizer:1", "scheduler", "scheduler:1", *BESIDE[1:]]
    checkpoint = ckpt_core.load(str(last(fsdp2)))
    assert labels(checkpoint) == ["model", "optimizer", *BESIDE]
    assert checkpoint.component("progress:custom_checkpoint_0").state == {"seen": 4}
    assert checkpoint.component("scheduler").state["last_epoch"] > 0
    assert checkpoint.component("rng:1").state["numpy_random_seed"][0] == "MT19937"


@pytest.mark.parametrize("kind", ["fsdp1", "fsdp2", "full"])
def test_a_fresh_checkpoint_has_no_finding_above_information(request, kind):
    folder = last(request.getfixturevalue(kind))
    report = ckpt_core.verify(str(folder), depth=ckpt_core.Depth.VALUES).report
    assert report.worst is ckpt_core.Severity.INFO


def test_full_state_dicts_are_whole_files(full):
    checkpoint = ckpt_core.load(str(last(full)))
    assert labels(checkpoint) == ["model", "optimizer", *BESIDE]
    assert_equal(checkpoint.to_torch(), torch.load(last(full) / "pytorch_model_fsdp.bin", weights_only=True))
    assert_equal(checkpoint.to_torch(), torch.load(full / "whole.pt", weights_only=True)[0])
    assert_equal(checkpoint.to_torch("optimizer"), flat(torch.load(last(full) / "optimizer.bin", weights_only=True)))


def test_flat_parameters_are_refused_with_the_reason(local):
    with pytest.raises(UnsupportedFormatError, match=r"pytorch_model_fsdp_rank0\.bin: holds flat parameters") as caught:
        ckpt_core.load(str(last(local)))
    assert caught.value.exit_code == 6
    with pytest.raises(UnsupportedFormatError, match="flat parameters"):
        ckpt_core.verify(str(last(local)), format="fsdp")
    members = detected(local / "checkpoints").members
    assert [(member.root, member.step) for member in members] == [("checkpoint_0", 0), ("checkpoint_1", 1)]
    assert all("LOCAL_STATE_DICT" in member.problem for member in members)


def test_an_optimizer_by_itself_is_dcp_and_no_model(fsdp2):
    checkpoint = ckpt_core.load(str(last(fsdp2) / "optimizer_0"))
    assert checkpoint.match.format == "dcp" and labels(checkpoint) == ["optimizer"]


def test_a_model_that_is_not_there_is_absent(fsdp2, copy_of):
    folder = copy_of(last(fsdp2))
    shutil.rmtree(folder / "pytorch_model_fsdp_0")
    checkpoint = ckpt_core.load(str(folder))
    assert labels(checkpoint) == ["optimizer", *BESIDE]
    absent = [role.kind for role in checkpoint.manifest.roles if role.presence is Presence.ABSENT]
    assert absent == ["model", "sampler"]


def test_the_state_of_a_rank_that_is_missing_is_absent(fsdp2, copy_of):
    folder = copy_of(last(fsdp2))
    (folder / "random_states_1.pkl").unlink()
    roles = ckpt_core.load(str(folder)).manifest.roles
    assert [(r.kind, r.name, r.where) for r in roles if r.presence is Presence.ABSENT] == [
        ("rng", "1", "random_states_1.pkl"),
        ("sampler", "", "dl_state_dict.bin"),
    ]


def test_a_name_that_claims_a_million_ranks_costs_no_line_for_each(fsdp2, copy_of):
    folder = copy_of(last(fsdp2))
    (folder / "random_states_999999.pkl").touch()
    roles = [role for role in ckpt_core.load(str(folder)).manifest.roles if role.kind == "rng"]
    absent = [role.name for role in roles if role.presence is Presence.ABSENT]
    assert absent == [*map(str, range(2, 66)), "others"]
    assert [role.name for role in roles if role.presence is Presence.UNREADABLE] == ["999999"]
    assert {role.note for role in roles if role.name == "others"} == {"999933 more ranks of 1000000"}


def test_a_missing_shard_is_named_from_the_top_with_tensor_and_rows(fsdp2, copy_of, tmp_path):
    folder = copy_of(last(fsdp2))
    (folder / "pytorch_model_fsdp_0" / "__1_0.distcp").unlink()
    found = {f.tensor: f for f in ckpt_core.verify(str(folder)).report.findings if f.code == "CV001"}
    assert found["0.weight"].path == "pytorch_model_fsdp_0/__1_0.distcp"
    assert "0.weight[3:5, 0:6]" in found["0.weight"].message
    from ckpt_core.verbs.convert import convert

    with pytest.raises(CorruptError, match=r"pytorch_model_fsdp_0/__1_0\.distcp"):
        convert(str(folder), str(tmp_path / "out.safetensors"), components=["model"])


def test_values_that_a_lost_shard_held_are_an_error_and_the_rest_can_be_looked_at(fsdp2, copy_of, tmp_path):
    folder = copy_of(last(fsdp2))
    (folder / "optimizer_0" / "__1_0.distcp").unlink()
    found = {f.code: f for f in ckpt_core.verify(str(folder)).report.findings}
    assert found["DC013"].path == "optimizer_0/__1_0.distcp" and "param_groups.0.lr" in found["DC013"].message
    assert labels(ckpt_core.load(str(folder))) == ["model", "optimizer", *BESIDE]
    with pytest.raises(CorruptError, match=r"__1_0\.distcp: tensor state\..*\[3:5"):
        ckpt_core.convert(str(folder), str(tmp_path / "out.safetensors"), components=["optimizer"])


def test_a_model_directory_is_made_of_it_equal_to_the_merged_weights(fsdp2, tmp_path):
    ckpt_core.convert(str(last(fsdp2)), str(tmp_path / "hf"), to="hf", components=["model"])
    expected = torch.load(fsdp2 / "whole.pt", weights_only=True)[0]
    assert_equal(load_file(tmp_path / "hf" / "model.safetensors"), expected)


def test_the_newest_whole_checkpoint_of_a_run_is_found(fsdp2, tmp_path):
    run = shutil.copytree(fsdp2 / "checkpoints", tmp_path / "run")
    newest = ckpt_core.locate(str(run), profile="resume").require()
    assert newest.name == "checkpoint_1"
    (run / "checkpoint_1" / "optimizer_0" / ".metadata").unlink()
    found = ckpt_core.locate(str(run), profile="resume")
    assert found.require().name == "checkpoint_0" and "optimizer_0" in found.explain()


def test_a_dot_file_that_a_copy_left_behind_is_said_and_the_checkpoint_stays_listed(fsdp2, tmp_path):
    run = shutil.copytree(fsdp2 / "checkpoints", tmp_path / "run")
    (run / "checkpoint_1" / "pytorch_model_fsdp_0" / ".metadata").unlink()
    assert [member.root for member in detected(run).members] == ["checkpoint_0", "checkpoint_1"]
    with pytest.raises(CorruptError, match=r"pytorch_model_fsdp_0.*\.metadata") as caught:
        ckpt_core.load(str(run / "checkpoint_1"))
    assert caught.value.exit_code == 4
    report = ckpt_core.verify(str(run / "checkpoint_1")).report
    assert "DC001" in {finding.code for finding in report.findings} and not report.ok


def test_an_unsafe_piece_stops_everything(fsdp2, copy_of):
    import pickle

    class Evil:
        def __reduce__(self):
            return (eval, ("print('ran')",))

    folder = copy_of(last(fsdp2))
    torch.save(Evil(), folder / "scheduler.bin", pickle_module=pickle)
    with pytest.raises(ckpt_core.UnsafeContentError):
        ckpt_core.load(str(folder))


def detected(folder):
    files = ckpt_core.list_files(str(folder))
    return ckpt_core.get_plugin_manager().hooks.detect_format(files=files)


def test_a_run_directory_lists_each_step_once_and_nothing_foreign(fsdp2, tmp_path):
    run = tmp_path / "run"
    for name in ("checkpoint-400", "checkpoint-1000", "notes"):
        shutil.copytree(last(fsdp2), run / name)
    shutil.rmtree(run / "notes" / "pytorch_model_fsdp_0")
    shutil.rmtree(run / "notes" / "optimizer_0")
    members = detected(run).members
    assert [(m.format, m.root, m.step) for m in members if m.format != "torch"] == [
        ("fsdp", "checkpoint-1000", 1000),
        ("fsdp", "checkpoint-400", 400),
        ("accelerate", "notes", None),  # what is left without the shards, which is not complete
    ]


def test_the_directory_of_a_trainer_is_its_own_format_and_its_shards_are_parts(fsdp2, copy_of):
    from transformers import TrainerState

    folder = copy_of(last(fsdp2), "checkpoint-400")
    TrainerState(global_step=400, max_steps=1000).save_to_json(str(folder / "trainer_state.json"))
    checkpoint = ckpt_core.load(str(folder))
    assert checkpoint.match.format == "hf-trainer" and checkpoint.manifest.step == 400
    assert_equal(checkpoint.to_torch(), torch.load(fsdp2 / "whole.pt", weights_only=True)[0])
    assert len(checkpoint.component("optimizer").tensors) == 12
    assert labels(ckpt_core.load(str(folder), format="fsdp")) == ["model", "optimizer", *BESIDE]


def test_asking_for_the_format_where_there_is_none_is_said(tmp_path):
    (tmp_path / "note.txt").write_text("…")
    with pytest.raises(UnsupportedFormatError, match="no pytorch_model_fsdp_0"):
        ckpt_core.load(str(tmp_path), format="fsdp")
