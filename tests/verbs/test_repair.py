"""Repairs as a library: seals, backups, copies, what is withheld, what is marked as made up, and who refuses."""

import json
import os
import shutil

import numpy as np
import pytest
import torch

import ckpt_core
from ckpt_core import (
    CheckpointNotFoundError,
    Confidence,
    CorruptError,
    Depth,
    FileEntry,
    Finding,
    Format,
    FormatMatch,
    Irreparable,
    LocationKind,
    Manifest,
    Operation,
    OverwriteError,
    PluginError,
    Presence,
    Profile,
    RepairAction,
    Role,
    Severity,
    StoredCheckpoint,
    UnsupportedFormatError,
    UsageError,
    hookimpl,
    repair,
    undo_repair,
)
from ckpt_core.errors import LockedError
from ckpt_core.manager.plugin_manager import CkptPluginManager
from ckpt_core.storage.repairing.overlay import overlaid
from ckpt_core.storage.writing import locks
from ckpt_core.verbs.convert import convert
from ckpt_core.verbs.save import save
from ckpt_core.verbs.seal import seal


@pytest.fixture
def place(tmp_path):
    """A sealed model directory of three shards."""
    draw = np.random.default_rng(0)
    weights = {f"{name}.weight": draw.standard_normal((40, 8)).astype("f4") for name in "abc"}
    save(weights, str(tmp_path / "d"), format="hf", options={"max_shard_size": "2KB"})
    return tmp_path / "d"


@pytest.fixture
def broken(place):
    (place / "model.safetensors.index.json").unlink()
    return place


def everything(folder):
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    return dict(sorted(found.items()))


def flip(path, at=300):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def paths(done):
    return [action.path for action in done.plan.actions]


def reasons(done):
    return " ".join(one.reason for one in done.remaining)


def test_what_is_whole_has_nothing_to_repair(place):
    before = everything(place)
    assert not repair(str(place), in_place=True).applied
    assert not repair(str(place), output=str(place.parent / "out")).applied
    assert everything(place) == before
    assert os.listdir(place.parent) == ["d"]


def test_a_plan_writes_nothing(broken):
    before = everything(broken)
    assert paths(repair(str(broken))) == ["model.safetensors.index.json"]
    assert everything(broken) == before
    assert os.listdir(broken.parent) == ["d"]


def test_a_copy_shares_no_storage_with_its_original(broken):
    out = broken.parent / "out"
    before = everything(broken)
    assert repair(str(broken), output=str(out)).written == str(out)
    flip(out / "model-00001-of-00003.safetensors")
    assert everything(broken) == before
    assert all(os.stat(path).st_nlink == 1 for path in out.iterdir())


def test_a_copy_onto_or_into_the_original_is_refused(broken):
    for out in (broken, broken / "inside", broken.parent):
        with pytest.raises(OverwriteError):
            repair(str(broken), output=str(out), force=True)


def test_a_copy_replaces_what_is_there_only_by_force(broken):
    out = broken.parent / "out"
    out.mkdir()
    (out / "mine").touch()
    with pytest.raises(OverwriteError, match="exists"):
        repair(str(broken), output=str(out))
    assert repair(str(broken), output=str(out), force=True).applied
    assert not (out / "mine").exists()


def test_damage_is_not_carried_into_a_copy_in_silence(broken):
    flip(broken / "model-00002-of-00003.safetensors")
    for depth in (Depth.LAYOUT, Depth.BYTES):
        with pytest.raises(CorruptError, match=r"model-00002-of-00003.*block 0.*nothing was committed") as caught:
            repair(str(broken), output=str(broken.parent / "out"), depth=depth)
        assert caught.value.code == "SL002"
        assert os.listdir(broken.parent) == ["d"]


@pytest.mark.parametrize("depth", [Depth.LAYOUT, Depth.BYTES])
def test_damage_that_is_accepted_shows_in_a_copy_and_taints_it(broken, depth):
    flip(broken / "model-00002-of-00003.safetensors")
    done = repair(str(broken), output=str(broken.parent / "out"), accept_damage=True, depth=depth)
    assert done.applied and not done.after.ok and "damage" in reasons(done)
    assert done.tainted == {"model/b.weight": "damaged"}
    found = ckpt_core.verify(str(broken.parent / "out"), depth=Depth.BYTES).report.findings
    assert {finding.code for finding in found if finding.severity is Severity.ERROR} == {"SL002", "IN001"}
    for name in ("ckpt.manifest.json", "ckpt.blocks"):
        (broken.parent / "out" / name).unlink()
    found = ckpt_core.verify(str(broken.parent / "out")).report.findings
    assert [finding.tensor for finding in found if finding.code == "IN001"] == ["b.weight"]


@pytest.mark.parametrize("depth", [Depth.LAYOUT, Depth.BYTES])
@pytest.mark.parametrize("sealed", [True, False])
def test_a_repair_in_place_certifies_no_damage(tmp_path, depth, sealed):
    """Only what it wrote is entered in a seal, and it makes none."""
    torch.save({name: torch.ones(300) for name in "ab"}, tmp_path / "w.bin")
    place = tmp_path / "d"
    convert(str(tmp_path / "w.bin"), str(place), to="hf", options={"max_shard_size": "1KB"})
    seals = [place / "ckpt.manifest.json", place / "ckpt.blocks"]
    for path in [] if sealed else seals:
        path.unlink()
    shard = sorted(place.glob("model-*.safetensors"))[0]
    flip(shard, shard.stat().st_size - 2)
    (place / "model.safetensors.index.json").unlink()
    assert repair(str(place), in_place=True, depth=depth).applied
    assert all(path.exists() == sealed for path in seals)
    found = ckpt_core.verify(str(place), depth=Depth.BYTES).report.findings
    assert (("SL002", shard.name) in {(finding.code, finding.path) for finding in found}) == sealed


def test_a_copy_of_what_was_not_sealed_is_sealed_once_it_verifies(broken):
    for name in ("ckpt.manifest.json", "ckpt.blocks"):
        (broken / name).unlink()
    repair(str(broken), output=str(broken.parent / "out"))
    assert (broken.parent / "out" / "ckpt.manifest.json").exists()


def test_the_seal_enters_what_was_mended_and_keeps_the_rest_as_it_was(place):
    index = place / "model.safetensors.index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "more": 1}))
    seal(str(place), force=True)
    index.unlink()
    flip(place / "model-00003-of-00003.safetensors")
    done = repair(str(place), in_place=True)
    assert paths(done) == ["model.safetensors.index.json", "ckpt.manifest.json", "ckpt.blocks"]
    found = ckpt_core.verify(str(place), depth=Depth.BYTES).report.findings
    assert {(finding.code, finding.path) for finding in found if finding.severity is Severity.ERROR} == {
        ("SL002", "model-00003-of-00003.safetensors")
    }


@pytest.mark.parametrize("lost", ["ckpt.blocks", "ckpt.manifest.json"])
def test_half_a_seal_is_made_again_where_the_other_half_proves_the_content(place, lost):
    before = ckpt_core.read_seal(ckpt_core.list_files(str(place)))
    (place / lost).write_bytes(b"{")
    assert repair(str(place), in_place=True).after.worst == 0
    after = ckpt_core.read_seal(ckpt_core.list_files(str(place)))
    assert after.files == before.files
    assert (after.tensors == before.tensors) == (lost == "ckpt.blocks")


@pytest.mark.parametrize("lost", ["ckpt.blocks", "ckpt.manifest.json"])
def test_half_a_seal_that_contradicts_the_content_is_damage_and_stays(place, lost):
    (place / lost).write_bytes(b"{")
    flip(place / "model-00001-of-00003.safetensors")
    before = everything(place)
    done = repair(str(place), in_place=True, depth=Depth.BYTES, accept_loss=True)
    assert not done.applied and "damage" in reasons(done)
    assert everything(place) == before


def test_a_seal_of_which_nothing_is_left_is_made_of_content_that_was_checked(place):
    for name in ("ckpt.manifest.json", "ckpt.blocks"):
        (place / name).write_bytes(b"{")
    assert "depth='bytes'" in reasons(repair(str(place)))
    assert repair(str(place), in_place=True, depth=Depth.BYTES).after.ok
    assert ckpt_core.verify(str(place), depth=Depth.BYTES).report.worst == 0


def test_a_stale_seal_is_not_brought_up_to_content_that_nobody_vouches_for(place):
    with open(place / "model-00001-of-00003.safetensors", "ab") as file:
        file.write(b"x")
    done = repair(str(place), accept_loss=True)
    assert not done.plan.actions and "ckpt seal --force" in reasons(done)


def test_the_seal_of_a_single_file_lies_beside_it_and_so_does_the_backup(tmp_path):
    file = tmp_path / "m.safetensors"
    save({"a": np.arange(6.0)}, str(file))
    before = everything(tmp_path)
    (tmp_path / "m.safetensors.ckpt.json").write_bytes(b"{")
    assert repair(str(file), in_place=True, depth=Depth.BYTES).after.ok
    assert sorted(os.listdir(tmp_path)) == [".m.safetensors.ckpt-backup-1", *before]
    assert undo_repair(str(file)) == ["m.safetensors.ckpt.json"]
    assert everything(tmp_path) == {**before, "m.safetensors.ckpt.json": b"{"}


def test_backups_are_no_part_of_a_listing_and_of_no_seal(broken):
    done = repair(str(broken), in_place=True)
    assert done.backup == str(broken / ".ckpt-backup-1")
    assert not any("backup" in path for path in ckpt_core.list_files(str(broken)).entries)
    assert ckpt_core.verify(str(broken), depth=Depth.BYTES).report.worst == 0


def test_two_repairs_are_undone_one_after_the_other(place):
    index = place / "model.safetensors.index.json"
    states = [everything(place)]
    for content in (b"", b"{"):
        index.write_bytes(content)
        states.append(everything(place))
        assert repair(str(place), in_place=True).applied
    undo_repair(str(place))
    assert everything(place) == states[2]
    index.write_bytes(states[0][index.name])  # as the first repair left it
    undo_repair(str(place))
    assert everything(place) == states[1]
    with pytest.raises(CheckpointNotFoundError, match="nothing to undo"):
        undo_repair(str(place))


def test_undo_refuses_to_overwrite_what_came_after_the_repair(broken):
    repair(str(broken), in_place=True)
    index = broken / "model.safetensors.index.json"
    index.write_bytes(b"mine")
    with pytest.raises(OverwriteError, match="changed after the repair"):
        undo_repair(str(broken))
    assert index.read_bytes() == b"mine"


@pytest.mark.parametrize("path", ["../outside", "/etc/hostname", "link/outside"])
def test_a_backup_that_leads_out_of_the_checkpoint_is_not_followed(broken, path):
    repair(str(broken), in_place=True)
    (broken.parent / "outside").write_bytes(b"theirs")
    (broken / "link").symlink_to("..")
    steps = broken / ".ckpt-backup-1" / "steps.json"
    content = json.loads(steps.read_text())
    content["steps"][0][1] = path
    steps.write_text(json.dumps(content))
    with pytest.raises(CorruptError, match="not the notes of a repair"):
        undo_repair(str(broken))
    assert (broken.parent / "outside").read_bytes() == b"theirs"


def test_a_file_that_is_a_link_is_not_changed_in_place(place):
    index = place / "model.safetensors.index.json"
    (place / "blob").write_bytes(b"")
    index.unlink()
    index.symlink_to("blob")
    with pytest.raises(UnsupportedFormatError, match="a link"):
        repair(str(place), in_place=True)
    assert (place / "blob").read_bytes() == b"" and not list(place.glob(".ckpt-*"))


def test_the_mode_of_a_file_stays(place):
    index = place / "model.safetensors.index.json"
    index.write_bytes(b"")
    index.chmod(0o640)
    repair(str(place), in_place=True)
    assert index.stat().st_mode & 0o777 == 0o640
    undo_repair(str(place))
    assert index.stat().st_mode & 0o777 == 0o640


def test_a_place_where_somebody_writes_is_left_alone(broken):
    lock = str(broken.parent / ".d.ckpt-lock")
    with locks.locked(lock, place="d"), pytest.raises(LockedError):
        repair(str(broken), in_place=True)


def test_a_copy_and_a_change_in_place_are_not_both_done(broken):
    with pytest.raises(UsageError):
        repair(str(broken), output=str(broken.parent / "out"), in_place=True)


def test_of_a_folder_of_checkpoints_one_is_to_be_named(broken):
    shutil.copytree(broken, broken.parent / "e")
    with pytest.raises(UsageError, match="name"):
        repair(str(broken.parent))
    assert paths(repair(f"{broken.parent}#e")) == ["model.safetensors.index.json"]


class Toy:
    """A format of a directory with `toy`; what it lacks is `rng`, and what it proposes a test sets."""

    def __init__(self, *answers):
        self.answers = answers

    @hookimpl
    def formats(self):
        return (Format("toy", "a toy", writes=LocationKind.DIRECTORY),)

    @hookimpl
    def detect_format(self, files):
        if "toy" in files.entries:
            yield FormatMatch("toy", Confidence.CERTAIN, "toy")

    @hookimpl
    def load(self, files, match):
        there = "rng" in files.entries
        lacks = [] if there else [Finding("CK007", Severity.WARNING, "no rng", "rng")]
        role = Role("rng", Presence.PRESENT if there else Presence.ABSENT, "rng")
        needed = [Role(kind, Presence.PRESENT) for kind in ("model", "optimizer", "scheduler", "progress", "sampler")]
        return StoredCheckpoint(files, match, Manifest((), roles=(*needed, role), findings=tuple(lacks)))

    @hookimpl
    def verify(self, files):
        if "toy" in files.entries and files.size("toy") == 0:
            yield Finding("CK007", Severity.ERROR, "an empty toy", "toy")

    @hookimpl
    def repair(self, files):
        return [answer for answer in self.answers if "toy" in files.entries]


def managed(*answers):
    manager = CkptPluginManager()
    manager.load_builtin()
    manager.register(Toy(*answers), name="toy")
    return manager


@pytest.fixture
def toy(tmp_path):
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "toy").write_bytes(b"toy")
    return tmp_path / "t"


INVENTED = RepairAction("a random state", Operation.WRITE, "rng", b"7", invents={"rng": "seeded with 7"})


def test_what_is_made_up_needs_consent_stays_marked_and_never_passes_exact_resume(toy):
    manager = managed(INVENTED)
    assert repair(str(toy), manager=manager).plan.withheld == (INVENTED,)
    repair(str(toy), in_place=True, accept_loss=True, manager=manager)
    moved = toy.rename(toy.with_name("elsewhere"))
    for profile, verdict in ((Profile.RESUME, True), (Profile.EXACT_RESUME, False)):
        found = ckpt_core.verify(str(moved), profile=profile, manager=manager).report.assessment
        (line,) = [line for line in found.lines if line.role.kind == "rng"]
        assert line.role.presence is Presence.SYNTHESIZED
        assert line.role.note == "seeded with 7"
        assert line.met is verdict
    undo_repair(str(moved), manager=manager)
    assert os.listdir(moved) == ["toy"]


def test_a_note_of_what_is_made_up_that_cannot_be_read_is_an_error(toy):
    (toy / "ckpt.synthesized.json").write_bytes(b"{}")
    with pytest.raises(CorruptError) as caught:
        ckpt_core.load(str(toy), manager=managed())
    assert caught.value.code == "RP001"


def test_what_does_not_help_is_not_done(toy):
    done = repair(str(toy), in_place=True, manager=managed(RepairAction("more", Operation.WRITE, "more", b"x")))
    assert not done.applied and "would not make it verify cleaner" in reasons(done)
    assert os.listdir(toy) == ["toy"]


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", ".ckpt-backup-1/x", ""])
def test_a_plugin_that_leads_out_of_the_checkpoint_is_refused(toy, path):
    with pytest.raises(PluginError, match="no file of the checkpoint"):
        repair(str(toy), manager=managed(RepairAction("x", Operation.WRITE, path, b"x")))


def test_two_wishes_for_one_file_are_refused(toy):
    actions = [RepairAction("x", Operation.WRITE, "toy", data) for data in (b"1", b"2")]
    with pytest.raises(PluginError, match="two repairs want this file"):
        repair(str(toy), manager=managed(*actions))


def test_what_a_plugin_says_of_a_finding_is_its_reason(toy):
    (toy / "toy").write_bytes(b"")
    done = repair(str(toy), manager=managed(Irreparable("toys are made once", "CK007", "toy")))
    assert Irreparable("toys are made once", "CK007", "toy") in done.remaining


def test_a_listing_with_repairs_done_reads_as_if_they_were(toy):
    (toy / "sub").mkdir()
    (toy / "sub" / "old").write_bytes(b"content")
    actions = [
        RepairAction("", Operation.WRITE, "toy", b"written"),
        RepairAction("", Operation.RENAME, "sub/new", source="sub/old"),
    ]
    files = overlaid(ckpt_core.list_files(str(toy)), actions)
    assert list(files.entries.values()) == [FileEntry("sub/new", 7), FileEntry("toy", 7)]
    assert (files.head("toy"), files.read("toy", 2, 3)) == (b"written", b"itt")
    assert files.below("sub").read("new") == b"content"
    assert files.below("sub").local_path("new") == str(toy / "sub" / "old")
    assert overlaid(files, [RepairAction("", Operation.REMOVE, "sub/new")]).removed == ["sub/old"]
    with pytest.raises(CorruptError):
        files.read("sub/old")


def test_the_only_checkpoint_of_a_folder_is_changed_where_it_lies(broken):
    assert repair(str(broken.parent), in_place=True).backup == str(broken / ".ckpt-backup-1")
    assert undo_repair(str(broken.parent)) == ["model.safetensors.index.json"]
