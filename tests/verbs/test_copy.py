"""Copies on a disk: the same bytes, checked as they move, of one moment, sealed as what they are."""

import filecmp
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import load_file, save_file

import ckpt_core
from ckpt_core import CorruptError, OverwriteError, ReplacedError, UnreachableError, UsageError, copy, read_seal
from ckpt_core.schema.verification import Depth
from ckpt_core.storage.copying import to_disk
from ckpt_core.storage.listing import list_files

PART = 1 << 20
SEALS = {"ckpt.manifest.json", "ckpt.blocks"}


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(to_disk, "PART", PART)


def weights(count=3, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return {f"layers.{number}.weight": torch.randn(300, 1000, generator=draw) for number in range(count)}


def hf(folder: Path) -> Path:
    folder.mkdir()
    made = weights()
    names = {name: f"model-0000{number}-of-00003.safetensors" for number, name in enumerate(made, 1)}
    for name, file in names.items():
        save_file({name: made[name]}, folder / file, metadata={"format": "pt"})
    index = {"metadata": {"total_size": sum(t.nbytes for t in made.values())}, "weight_map": names}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    (folder / "tokenizer.json").write_text("{}")
    return folder


def trainer(folder: Path) -> Path:
    """As HF Trainer writes it: weights, optimizer, scheduler and state in files of their own."""
    folder.mkdir()
    model = torch.nn.Linear(512, 512)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.ones(1, 512)).sum().backward()
    optimizer.step()
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text('{"model_type": "llama"}')
    torch.save(optimizer.state_dict(), folder / "optimizer.pt")
    torch.save(torch.optim.lr_scheduler.ConstantLR(optimizer).state_dict(), folder / "scheduler.pt")
    (folder / "trainer_state.json").write_text('{"global_step": 7, "epoch": 1.0, "log_history": []}')
    return folder


def dcp_of(folder: Path) -> Path:
    dcp.save({"model": weights(), "optimizer": {"lr": torch.tensor(0.5)}}, checkpoint_id=folder, no_dist=True)
    return folder


def same(one: Path, other: Path) -> bool:
    names = {str(path.relative_to(one)) for path in one.rglob("*") if path.is_file()} - SEALS
    there = {str(path.relative_to(other)) for path in other.rglob("*") if path.is_file()} - SEALS
    return names == there and not filecmp.cmpfiles(one, other, names, shallow=False)[1]


pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")


@pytest.mark.parametrize("make", [hf, trainer, dcp_of])
def test_a_directory_is_copied_byte_for_byte_and_sealed(make, tmp_path):
    source, place = make(tmp_path / "source"), tmp_path / "copy"
    done = copy(source, place)
    assert same(source, place)
    assert (done.seal, done.left_out, done.kept) == ("new", {}, 0)
    assert ckpt_core.verify(place, depth=Depth.BYTES).report.ok
    assert {file.size for file in read_seal(list_files(str(place))).files.values()} == set(done.files.values())
    assert sorted(os.listdir(tmp_path)) == ["copy", "source"]


def test_a_seal_goes_with_what_it_is_of(tmp_path):
    source = hf(tmp_path / "source")
    ckpt_core.seal(source)
    done = copy(source, tmp_path / "copy")
    assert (done.seal, done.checked) == ("kept", "seal")
    for name in SEALS:
        assert (tmp_path / "copy" / name).read_bytes() == (source / name).read_bytes()


def test_a_file_has_its_new_name_in_its_seal(tmp_path):
    save_file(weights(), tmp_path / "a.safetensors")
    ckpt_core.seal(tmp_path / "a.safetensors")
    copy(tmp_path / "a.safetensors", tmp_path / "new" / "b.safetensors")
    found = ckpt_core.verify(tmp_path / "new" / "b.safetensors", depth=Depth.BYTES).report
    assert found.ok
    assert not found.findings
    assert [*read_seal(list_files(str(tmp_path / "new" / "b.safetensors"))).files] == ["b.safetensors"]
    assert torch.equal(load_file(tmp_path / "new" / "b.safetensors")["layers.1.weight"], weights()["layers.1.weight"])


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


def test_damage_to_what_is_sealed_is_refused_and_nothing_is_left(tmp_path):
    source = hf(tmp_path / "source")
    ckpt_core.seal(source)
    flip(source / "model-00002-of-00003.safetensors", 1_100_000)
    with pytest.raises(CorruptError, match="is not what was sealed") as caught:
        copy(source, tmp_path / "copy")
    assert (caught.value.code, caught.value.exit_code) == ("SL002", 4)
    assert os.listdir(tmp_path) == ["source"]


@pytest.mark.parametrize("make", [trainer, dcp_of])
def test_damage_to_a_record_is_found_without_a_seal(make, tmp_path):
    source = make(tmp_path / "source")
    path = source / ("optimizer.pt" if make is trainer else "__0_0.distcp")
    flip(path, path.stat().st_size // 2)
    with pytest.raises(CorruptError, match="do not match its checksum"):
        copy(source, tmp_path / "copy")
    assert os.listdir(tmp_path) == ["source"]


def test_a_part_that_cannot_be_read_is_copied_by_nobody_who_did_not_leave_it_out(tmp_path):
    source = trainer(tmp_path / "source")
    (source / "scheduler.pt").write_bytes(b"no checkpoint")
    with pytest.raises(CorruptError) as caught:
        copy(source, tmp_path / "copy")
    assert "exclude=['scheduler.pt']" in caught.value.hint
    done = copy(source, tmp_path / "copy", exclude=["scheduler.pt"])
    assert [*done.left_out] == ["scheduler.pt"]


def test_a_source_that_changes_meanwhile_is_no_source(tmp_path):
    source = hf(tmp_path / "source")

    class Writer:
        def begin(self, total):
            pass

        def advance(self, nbytes):
            (source / "tokenizer.json").write_text("{ }")

    with pytest.raises(ReplacedError) as caught:
        copy(source, tmp_path / "copy", progress=Writer())
    assert caught.value.exit_code == 5
    assert os.listdir(tmp_path) == ["source"]


def test_a_link_that_leads_away_must_be_left_out_by_name(tmp_path):
    source = hf(tmp_path / "source")
    (tmp_path / "elsewhere").write_text("x")
    (source / "notes").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnreachableError, match="a link that leads out") as caught:
        copy(source, tmp_path / "copy")
    assert "exclude=['notes']" in str(caught.value)
    copy(source, tmp_path / "copy", exclude=["notes"])
    assert not (tmp_path / "copy" / "notes").exists()


def test_a_component_is_copied_with_what_its_layout_is_opened_by(tmp_path):
    source = trainer(tmp_path / "source")
    done = copy(source, tmp_path / "copy", components="model")
    assert sorted(done.files) == ["config.json", "model.safetensors"]
    assert done.left_out["optimizer.pt"] == "holds optimizer"
    assert done.seal == "of the part"
    found = ckpt_core.verify(tmp_path / "copy", depth=Depth.BYTES).report
    assert found.ok, found.findings


def test_a_component_of_a_sealed_checkpoint_keeps_its_fingerprint(tmp_path):
    source = trainer(tmp_path / "source")
    ckpt_core.seal(source)
    copy(source, tmp_path / "copy", components="model")
    old, new = read_seal(list_files(str(source))), read_seal(list_files(str(tmp_path / "copy")))
    assert new.components == {"model": old.components["model"]}
    assert [*new.files] == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("make", ["dcp", "file"])
def test_a_component_that_shares_its_file_is_refused_and_convert_does_it(make, tmp_path):
    if make == "dcp":
        source = dcp_of(tmp_path / "source")
    else:
        source = tmp_path / "source.pth"
        model = torch.nn.Linear(4, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        model(torch.ones(1, 4)).sum().backward()
        optimizer.step()
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, source)
    with pytest.raises(UsageError, match="takes them apart") as caught:
        copy(source, tmp_path / "copy", components="model")
    assert "components=['model']" in str(caught.value)
    ckpt_core.convert(source, str(tmp_path / "copy.safetensors"), components=["model"])
    assert not os.path.exists(tmp_path / "copy")


def test_globs_choose_files_and_folders_and_the_seal_is_of_these(tmp_path):
    source = hf(tmp_path / "source")
    (source / "runs").mkdir()
    (source / "runs" / "events.out").write_text("log")
    done = copy(source, tmp_path / "copy", exclude=["runs", "tokenizer*"])
    assert sorted(done.left_out) == ["runs/events.out", "tokenizer.json"]
    assert ckpt_core.verify(tmp_path / "copy", depth=Depth.BYTES).report.ok
    done = copy(source, tmp_path / "some", include=["*.json"])
    assert "does not open by itself" in done.note
    with pytest.raises(UsageError, match="no file is left"):
        copy(source, tmp_path / "none", include=["*.gguf"])


def test_of_several_checkpoints_one_must_be_named(tmp_path):
    for step in (100, 200):
        trainer(tmp_path / f"checkpoint-{step}")
    out = tmp_path / "out"
    out.mkdir()
    for step in (100, 200):
        shutil.move(tmp_path / f"checkpoint-{step}", out)
    with pytest.raises(UsageError, match="checkpoint-100, checkpoint-200") as caught:
        copy(out, tmp_path / "copy")
    assert caught.value.exit_code == 2
    copy(f"{out}#checkpoint-200", tmp_path / "copy")
    assert same(out / "checkpoint-200", tmp_path / "copy")


def test_a_folder_of_one_file_is_not_copied_to_a_file_of_its_name(tmp_path):
    (tmp_path / "source").mkdir()
    torch.save(weights(), tmp_path / "source" / "full_sft_512.pth")
    with pytest.raises(UsageError, match="is a file; name that") as caught:
        copy(tmp_path / "source", tmp_path / "copy")
    source, place = str(caught.value).rpartition("ckpt copy ")[2].split()
    copy(source, place)
    assert filecmp.cmp(source, place, shallow=False)


def test_a_destination_that_exists_needs_force_and_stays_until_then(tmp_path):
    source, place = hf(tmp_path / "source"), trainer(tmp_path / "copy")
    with pytest.raises(OverwriteError):
        copy(source, place)
    copy(source, place, force=True)
    assert same(source, place)
    for wrong in (source, source / "inside"):
        with pytest.raises(OverwriteError):
            copy(source, wrong)


def test_a_copy_that_is_there_is_proved_and_not_made_again(tmp_path):
    for sealed in (False, True):
        source, place = hf(tmp_path / f"source{sealed}"), tmp_path / f"copy{sealed}"
        if sealed:
            ckpt_core.seal(source)
        copy(source, place)
        before = os.stat(place / "config.json")
        assert copy(source, place).already_done
        assert os.path.samestat(os.stat(place / "config.json"), before)
        flip(place / "model-00003-of-00003.safetensors", 500_000)
        with pytest.raises(OverwriteError):
            copy(source, place)


def test_a_dry_run_says_what_would_be_done_and_does_nothing(tmp_path):
    source = hf(tmp_path / "source")
    done = copy(source, tmp_path / "copy", dry_run=True)
    assert done.dry_run
    assert done.nbytes == sum(path.stat().st_size for path in source.iterdir())
    assert set(done.files) == set(os.listdir(source))
    assert os.listdir(tmp_path) == ["source"]


def test_an_empty_file_is_copied_too(tmp_path):
    source = hf(tmp_path / "source")
    (source / "added_tokens.json").touch()
    copy(source, tmp_path / "copy")
    assert (tmp_path / "copy" / "added_tokens.json").stat().st_size == 0


def test_a_taint_goes_with_what_has_it(tmp_path):
    torch.save(weights(), tmp_path / "a.pth")
    flip(tmp_path / "a.pth", 1_000_000)
    ckpt_core.convert(tmp_path / "a.pth", str(tmp_path / "b.safetensors"), accept_damage=True)
    os.remove(tmp_path / "b.safetensors.ckpt.json")
    copy(tmp_path / "b.safetensors", tmp_path / "c.safetensors")
    assert "tainted" in read_seal(list_files(str(tmp_path / "c.safetensors"))).provenance
    assert [finding.code for finding in ckpt_core.verify(tmp_path / "c.safetensors").report.findings] == ["IN001"]


def test_memory_is_that_of_the_parts_under_way(tmp_path):
    source = tmp_path / "a.safetensors"
    save_file({"a": torch.zeros(1)}, source)
    assert copy(source, tmp_path / "b.safetensors", dry_run=True).memory <= PART
    assert np.ceil(copy(hf(tmp_path / "hf"), tmp_path / "b", dry_run=True).memory / PART) <= 4


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("s3://b/run", "s3://b/run/out"),
        ("s3://b/run/out/", "S3://b/run/out"),
        ("gs://b/x", "gcs://b/x"),
        ("memory://a", "memory:///a/b"),
    ],
)
def test_a_url_on_in_or_around_another_overlaps_it(place, source):
    from ckpt_core.storage.writing.overlap import refuse_overlap

    with pytest.raises(OverwriteError, match="would overwrite the source"):
        refuse_overlap(place, {source: "the source"})
    refuse_overlap("s3://b/run/out2", {source: "the source"})
    refuse_overlap("gs://other/run/out", {source: "the source"})
