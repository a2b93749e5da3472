import shutil
import subprocess
import sys

import pytest

import ckpt_core
from ckpt_core import Confidence


def detect(folder):
    files = ckpt_core.list_files(str(folder))
    return ckpt_core.get_plugin_manager().hooks.detect_format(files=files)


def hf_matches(folder):
    return {match.root: match for match in detect(folder).matches if match.format == "hf"}


def test_config_beside_weights_is_certainly_a_model(single):
    best = detect(single).best
    assert (best.format, best.confidence, best.root) == ("hf", Confidence.CERTAIN, "")
    assert best.evidence == "config.json beside model.safetensors"


def test_weights_without_config_are_likely_a_model(single):
    (single / "config.json").unlink()
    best = detect(single).best
    assert (best.format, best.confidence) == ("hf", Confidence.LIKELY)
    assert best.evidence == "model.safetensors without config.json"


def test_an_index_is_evidence_even_without_its_shards(sharded):
    for shard in sharded.glob("*.safetensors"):
        shard.unlink()
    assert detect(sharded).best.evidence == "config.json beside model.safetensors.index.json"


def test_a_config_alone_is_no_model_and_says_why(single):
    (single / "model.safetensors").unlink()
    assert "no weights" in detect(single).best.problem
    with pytest.raises(ckpt_core.UnsupportedFormatError, match="no weights") as caught:
        ckpt_core.load(str(single))
    assert caught.value.exit_code == 6


def test_a_config_beside_weights_of_another_name_is_not_claimed(single):
    (single / "model.safetensors").rename(single / "ae.safetensors")
    assert hf_matches(single) == {}


def test_a_single_file_is_not_claimed(single):
    assert detect(single / "model.safetensors").best.format == "safetensors"


@pytest.mark.parametrize(
    "mark",
    [
        "trainer_state.json",
        "training_state.pt",
        "adapter_config.json",
        "model_index.json",
        ".metadata",
        "__0_0.distcp",
        "optimizer.bin",
        "random_states_0.pkl",
        "optimizer.00000-of-00008.pt",
    ],
)
def test_what_may_be_of_another_format_is_claimed_as_likely_only(single, mark):
    (single / mark).write_bytes(b"x")
    best = hf_matches(single)[""]
    assert best.confidence is Confidence.LIKELY
    assert f"; {mark} too, as in " in best.evidence


def test_a_run_directory_lists_its_checkpoints_with_their_steps(tmp_path, single, sharded):
    run = tmp_path / "run"
    shutil.copytree(single, run / "checkpoint-100")
    shutil.copytree(sharded, run / "checkpoint-200")
    (run / "checkpoint-300").mkdir()
    (run / "checkpoint-300" / "config.json").write_text("{}")
    found = detect(run)
    assert found.best is None
    assert {match.root: match.step for match in found.members} == {"checkpoint-100": 100, "checkpoint-200": 200}
    assert ckpt_core.load(f"{run}#checkpoint-200").match.step == 200
    with pytest.raises(ckpt_core.UsageError, match="holds 2 checkpoints"):
        ckpt_core.load(str(run))


def test_a_model_with_checkpoints_below_it_is_the_model_and_its_members(tmp_path, single):
    shutil.copytree(single, single / "checkpoint-7")
    assert set(hf_matches(single)) == {"", "checkpoint-7"}
    assets = [asset.path for asset in ckpt_core.load(str(single)).manifest.assets]
    assert assets == ["config.json", "generation_config.json"]


def test_finding_models_imports_nothing_heavy(single):
    code = (
        "import sys, ckpt_hf.plugin; early = [m for m in sys.modules if m.startswith('ckpt_hf.')]\n"
        "import ckpt_core; files = ckpt_core.list_files(sys.argv[1])\n"
        "assert [m.root for m in ckpt_hf.plugin.detect_format(files)] == ['']\n"
        "print(early, [m for m in ('torch', 'numpy', 'fsspec', 'safetensors', 'transformers') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code, single], capture_output=True, text=True)
    assert run.stdout.strip() == "['ckpt_hf.plugin'] []", run.stderr
