"""Pruning: what nothing names is freed, and nothing else, whoever publishes meanwhile."""

import os

import pytest
import torch

import ckpt_core
from ckpt_core.errors import CheckpointNotFoundError, CorruptError, LockedError, UsageError
from ckpt_core.storage.versions import pruning
from ckpt_core.storage.versions.directory_store import DirectoryStore
from ckpt_core.storage.versions.opening import open_version_store
from ckpt_core.storage.versions.publication import Publication, publication
from ckpt_core.storage.versions.sweeping import sweep
from ckpt_core.storage.writing.mounts import renames
from ckpt_core.training import Keep


def saved(folder, seed, shared=0):
    tensors = {"own": torch.full((64,), float(seed)), "shared": torch.full((64,), float(shared))}
    path = folder / f"{seed}-{shared}.safetensors"
    ckpt_core.save({"model": tensors}, path, force=True)
    return path


def objects(store):
    return {path.relative_to(store) for path in (store / "objects").rglob("*") if path.is_file()}


def whole(store):
    """Every version that is there opens, and its bytes are its own."""
    for record in ckpt_core.list_versions(store).versions:
        assert ckpt_core.verify(f"{store}@{record.name}", depth="bytes").report.ok, record.name
    assert ckpt_core.verify_versions(store).ok
    return [record.name for record in ckpt_core.list_versions(store).versions]


@pytest.fixture
def store(tmp_path):
    """Four versions that share one tensor."""
    place = tmp_path / "versions"
    for number in range(4):
        ckpt_core.publish(saved(tmp_path, number), place, metrics={"loss": abs(number - 1)})
    return place


def test_without_apply_nothing_is_freed(store):
    before = objects(store)
    plan = ckpt_core.prune_versions(store, Keep(last=1))
    assert (plan.removed, plan.applied) == (("v0", "v1", "v2"), False)
    assert plan.nbytes > 0
    assert objects(store) == before
    assert whole(store) == ["v0", "v1", "v2", "v3"]


def test_what_no_rule_keeps_is_freed_and_what_is_shared_stays(store):
    plan = ckpt_core.prune_versions(store, Keep(last=1))
    done = ckpt_core.prune_versions(store, Keep(last=1), apply=True)
    assert (done.removed, done.nbytes) == (plan.removed, plan.nbytes)
    assert whole(store) == ["v3"]
    assert len(objects(store)) == 2, "the pack of v0 has the shared tensor"
    with pytest.raises(CheckpointNotFoundError, match="was pruned"):
        ckpt_core.load(f"{store}@v1")
    assert ckpt_core.prune_versions(store, Keep(last=1)).nbytes == 0


def test_numbers_go_on_after_a_pruning(tmp_path, store):
    ckpt_core.prune_versions(store, Keep(last=1), apply=True)
    done = ckpt_core.publish(saved(tmp_path, 9), store)
    assert (done.version.name, done.version.new) == ("v4", 256)
    again = ckpt_core.publish(saved(tmp_path, 1), store)
    assert (again.version.name, again.version.new) == ("v5", 256), "what was freed is stored again"
    assert whole(store) == ["v3", "v4", "v5"]


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        (Keep(last=2), ["v2", "v3"]),
        (Keep(last=0, best="loss"), ["v1", "v3"]),
        (Keep(last=1, best="+loss"), ["v3"]),
        (Keep(last=1, seconds=1e-9), ["v0", "v1", "v2", "v3"]),
    ],
)
def test_the_rules_are_those_of_trainings(store, keep, kept):
    assert sorted(ckpt_core.prune_versions(store, keep).kept) == kept


def test_a_metric_that_no_version_records_is_refused(store):
    with pytest.raises(UsageError, match="recorded are loss"):
        ckpt_core.prune_versions(store, Keep(best="accuracy"))


def test_what_an_alias_stands_for_is_kept(store):
    ckpt_core.set_alias(store, "best", "v1")
    done = ckpt_core.prune_versions(store, Keep(last=1), apply=True)
    assert done.kept == {"v1": "alias best", "v3": "by the rule"}
    assert whole(store) == ["v1", "v3"]


def test_an_alias_that_comes_meanwhile_keeps_its_version(store, monkeypatch):
    real = pruning._give_up

    def give_up(place, record):
        if record.number == 1:
            ckpt_core.set_alias(store, "late", "v1")
        real(place, record)

    monkeypatch.setattr(pruning, "_give_up", give_up)
    done = ckpt_core.prune_versions(store, Keep(last=1), apply=True)
    assert done.removed == ("v0", "v2")
    assert whole(store) == ["v1", "v3"]


def test_a_publisher_at_work_is_waited_for_and_keeps_what_it_stored(tmp_path, store):
    place = open_version_store(str(store))
    waited = []
    with publication(place) as work:
        work.put_small(b"d" * 32, b"not yet named")
        work.flush()
        record = ckpt_core.list_versions(store).versions[0]

        def wait(_):
            waited.append(1)
            if len(waited) == 2:
                work.lease.give_up()

        pruning.free(place, [record], wait=wait)
        assert any(work.id in str(path) for path in objects(store))
    assert len(waited) >= 2


def test_what_a_gone_publisher_left_is_freed(store):
    place = open_version_store(str(store))
    before = objects(store)
    try:
        with publication(place) as work:
            work.put_small(b"d" * 32, b"never named")
            work.flush()
            raise InterruptedError
    except InterruptedError:
        pass
    assert objects(store) > before
    done = ckpt_core.prune_versions(store, Keep(last=4), apply=True)
    assert done.nbytes >= len(b"never named")
    assert objects(store) == before


def test_a_publisher_that_slept_through_a_pruning_begins_anew(tmp_path, store, monkeypatch):
    """It would name a tensor of v1 that was freed meanwhile, its lease long gone."""
    real, slept = Publication.commit, []

    def commit(self, make):
        if not slept:
            slept.append(self.id)
            self.lease.give_up()
            self.lease.check = lambda: None
            ckpt_core.prune_versions(store, Keep(last=1), apply=True)
        return real(self, make)

    monkeypatch.setattr(Publication, "commit", commit)
    done = ckpt_core.publish(saved(tmp_path, 1), store)
    assert (done.version.name, done.version.new) == ("v4", 256)
    assert whole(store) == ["v3", "v4"]


def test_a_pruning_that_was_stopped_is_done_by_the_next(store, monkeypatch):
    real = DirectoryStore.delete

    def delete(self, keys):
        for key in keys:
            if key.startswith("objects/"):
                raise InterruptedError
            real(self, [key])

    monkeypatch.setattr(DirectoryStore, "delete", delete)
    with pytest.raises(InterruptedError):
        ckpt_core.prune_versions(store, Keep(last=1), apply=True)
    monkeypatch.undo()
    assert whole(store) == ["v3"]
    before = len(objects(store))
    ckpt_core.prune_versions(store, Keep(last=1), apply=True)
    assert len(objects(store)) < before
    assert whole(store) == ["v3"]


def test_what_writers_left_half_done_is_swept_when_it_is_old(store):
    left = store / "objects" / f".x.ckpt-put-{'0' * 32}"
    left.write_bytes(b"half")
    ckpt_core.prune_versions(store, Keep(last=4), apply=True)
    assert left.exists(), "its writer may be at work"
    os.utime(left, (1, 1))
    ckpt_core.prune_versions(store, Keep(last=4), apply=True)
    assert not left.exists()


def test_a_folder_of_a_mount_that_cannot_rename_is_a_store_too(tmp_path, monkeypatch):
    monkeypatch.setattr(renames, "can_rename_at", lambda path: False)
    for number in range(3):
        ckpt_core.publish(saved(tmp_path, number), tmp_path / "mount", alias="newest")
    assert ckpt_core.prune_versions(tmp_path / "mount", Keep(last=1), apply=True).removed == ("v0", "v1")
    assert whole(tmp_path / "mount") == ["v2"]


class Stopped(BaseException):
    """Ends a pruning where a kill would."""


def stop(*_):
    raise Stopped


@pytest.fixture
def left_going(store, monkeypatch):
    """The store after a kill between the mark of v0 and the look at aliases."""
    with monkeypatch.context() as patch:
        patch.setattr(pruning.VersionStore, "aliases", lambda place: stop() if _is_going(place, 0) else {})
        with pytest.raises(Stopped):
            ckpt_core.prune_versions(store, Keep(last=1), apply=True)
    assert _is_going(open_version_store(str(store)), 0)
    return store


def _is_going(place, number):
    return place.record(number).kind == "going"


def test_a_version_that_a_stopped_pruning_has_marked_is_there_and_the_next_settles_it(left_going):
    assert whole(left_going) == ["v0", "v1", "v2", "v3"]
    assert ckpt_core.prune_versions(left_going, Keep(last=4), apply=True).removed == ()
    assert not _is_going(open_version_store(str(left_going)), 0)
    assert ckpt_core.prune_versions(left_going, Keep(last=3), apply=True).removed == ("v0",)
    assert whole(left_going) == ["v1", "v2", "v3"]


def test_an_alias_takes_the_mark_of_a_stopped_pruning_back(left_going):
    ckpt_core.set_alias(left_going, "best", "v0")
    assert not _is_going(open_version_store(str(left_going)), 0)
    assert ckpt_core.prune_versions(left_going, Keep(last=1), apply=True).removed == ("v1", "v2")
    assert whole(left_going) == ["v0", "v3"]


def test_a_pruning_that_slept_brings_nothing_back(store, monkeypatch):
    """It sees an alias that came while another pruning freed the version that it had marked."""
    real, slept = pruning.VersionStore.aliases, []

    def aliases(place):
        if _is_going(place, 0) and not slept:
            slept.append(1)
            (store / "leases" / "pruning.json").unlink()
            ckpt_core.prune_versions(store, Keep(last=1), apply=True)
            return {"late": 0}
        return real(place)

    monkeypatch.setattr(pruning.VersionStore, "aliases", aliases)
    ckpt_core.prune_versions(store, Keep(last=1), apply=True)
    assert slept
    assert whole(store) == ["v3"]


def test_what_was_left_before_the_first_version_is_freed(tmp_path):
    place = open_version_store(str(tmp_path / "versions"))
    with pytest.raises(InterruptedError), publication(place) as work:
        work.put_small(b"d" * 32, b"never named")
        work.flush()
        raise InterruptedError
    plan = ckpt_core.prune_versions(tmp_path / "versions", Keep(last=1))
    done = ckpt_core.prune_versions(tmp_path / "versions", Keep(last=1), apply=True)
    assert plan.nbytes == done.nbytes == len(b"never named")
    assert not objects(tmp_path / "versions")
    assert ckpt_core.publish(saved(tmp_path, 1), tmp_path / "versions").version.name == "v0"
    assert whole(tmp_path / "versions") == ["v0"]


def test_a_pruning_goes_on_without_a_lost_index(store, caplog):
    (lost, *_) = ckpt_core.list_versions(store).versions[-1].indexes
    (store / lost).unlink()
    ckpt_core.prune_versions(store, Keep(last=1), apply=True)
    assert f"{lost} is lost" in caplog.text
    assert whole(store) == ["v3"]


def test_nothing_is_freed_where_what_would_be_kept_is_not_whole(store):
    own = ckpt_core.list_versions(store).versions[3].table.partition("/")[2]
    pack = store / "objects" / own / "pack-000000"
    data = bytearray(pack.read_bytes())
    data[-5] ^= 1
    pack.write_bytes(data)
    with pytest.raises(CorruptError, match=r"of v3.*nothing was freed") as raised:
        ckpt_core.prune_versions(store, Keep(last=1), apply=True)
    assert raised.value.code == "VS003"
    assert [one.name for one in ckpt_core.list_versions(store).versions] == ["v0", "v1", "v2", "v3"]
    ckpt_core.publish(store.parent / "0-0.safetensors", store)
    assert ckpt_core.prune_versions(store, Keep(last=1), apply=True).removed == ("v0", "v1", "v2", "v3")


def test_a_lease_that_cannot_be_read_is_waited_for_as_long_as_it_is_renewed(store):
    lease = store / "leases" / f"{'a' * 32}.json"
    lease.write_text('{"schema": "ckpt/lease@9"}')

    def falls_silent(_):
        os.utime(lease, (1, 1))

    with pytest.raises(LockedError, match=rf"{lease.name} is no lease .*remove it"):
        pruning.free(open_version_store(str(store)), [], wait=falls_silent)
    lease.unlink()
    ckpt_core.prune_versions(store, Keep(last=1), apply=True)
    assert whole(store) == ["v3"]


def test_nothing_is_swept_of_who_is_at_work_and_trials_and_uploads_of_the_gone_are(store):
    place = open_version_store(str(store))

    def left(publication):
        files = [f"tables/.{publication}", f"indexes/.{publication}-b", f"objects/{publication}/.pack-000000"]
        return [store / f"{one}.ckpt-put-{'0' * 32}" for one in files]

    with publication(place) as work:
        trials = [store / f".ckpt-clock-{'0' * 32}", store / f".ckpt-probe-{'0' * 32}"]
        for file in (*left(work.id), *left("gone"), *trials):
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(b"half")
            os.utime(file, (1, 1))
        for key in (f"tables/{work.id}", "tables/gone", "indexes/gone-b"):
            place.store.begin_upload(key)
        sweep(place, place.head())
        assert all(file.exists() for file in left(work.id))
        assert not any(file.exists() for file in (*left("gone"), *trials))
        assert [one.key for one in place.store.uploads("")] == [f"tables/{work.id}"]


def test_publishers_are_looked_for_after_what_is_swept_was_listed(store, monkeypatch):
    """One that begins just after the look at leases would lose the upload that it begins then."""
    place = open_version_store(str(store))
    real, began = DirectoryStore.uploads, []

    def uploads(self, prefix):
        if not began:
            began.append(publication(place))
            self.begin_upload(f"objects/{began[0].__enter__().id}/x")
        return real(self, prefix)

    monkeypatch.setattr(DirectoryStore, "uploads", uploads)
    sweep(place, place.head())
    assert len(list(real(place.store, ""))) == 1
    began[0].__exit__(None, None, None)
