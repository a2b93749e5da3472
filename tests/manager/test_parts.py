"""Nested layouts: each part opened through its owner, joined under the root of the whole, verified by its plugin."""

import pytest

import ckpt_core
from ckpt_core import (
    Asset,
    ByteRange,
    Chunk,
    Component,
    Confidence,
    CorruptError,
    DType,
    Encoding,
    Finding,
    Format,
    FormatMatch,
    FormatOption,
    Manifest,
    Part,
    Severity,
    StoredCheckpoint,
    TensorEntry,
    TensorTable,
    UnsafeContentError,
    UsageError,
    hookimpl,
)
from ckpt_core.schema.byte_consumers import Noted


class Inner:
    """Directories with an `inner.bin`: 8 bytes before what it holds, an item to be settled, and a note of its own."""

    def __init__(self, broken=None):
        self.broken = broken
        self.asked = []

    @hookimpl
    def formats(self):
        return (Format("inner", "a directory with inner.bin"),)

    @hookimpl
    def detect_format(self, files):
        for path in files.entries:
            if path.endswith("inner.bin"):
                root = path.rpartition("/")[0]
                yield FormatMatch("inner", Confidence.CERTAIN, "inner.bin", root, 7)

    @hookimpl
    def load(self, files, match):
        if self.broken is not None and files.location.name == "optim":
            raise self.broken
        stored = ByteRange("inner.bin", 0, 16)
        item = Chunk((0,), (2,), stored, encoding=Encoding("item"))
        table = TensorTable.of({"w": TensorEntry(DType.F32, (2,), (item,))})
        note = Finding("IN001", Severity.INFO, "inner.bin: odd", "inner.bin")
        parts = (Component("model", table, {"lr": 0.1}), Component("config", TensorTable.of({}), {"a": 1}))
        manifest = Manifest(parts, (Asset("notes.txt", 3),), {"by": "inner"}, findings=(note,), step=7)

        def find_chunk(chunk):
            assert chunk.stored.path == "inner.bin"
            return Chunk(chunk.offsets, chunk.sizes, ByteRange("inner.bin", 8, 8))

        made = StoredCheckpoint(files, match, manifest, find_chunk=find_chunk)
        bare = Finding("IN004", Severity.WARNING, "inner.bin: no checksum", "inner.bin")
        made.checksums = lambda: iter([Noted(bare)])
        return made

    @hookimpl
    def verify(self, files, checkpoint, request):
        if checkpoint is not None and checkpoint.match.format == "inner":
            self.asked.append(files.location.name)
            yield Finding("IN002", Severity.WARNING, "inner.bin: worn", "inner.bin")


class Choosing(Inner):
    """Of which each has a `which`; `blue` is in the folder `weights` alone."""

    def __init__(self):
        super().__init__()
        self.read, self.verified = [], []

    @hookimpl
    def formats(self):
        return (Format("inner", "a directory with inner.bin", options=(FormatOption("which", "a colour"),)),)

    @hookimpl
    def load(self, files, match, request):
        which = request.options.get("which")
        if which == "green" or (which == "blue" and files.location.name != "weights"):
            raise UsageError(f"{files.location.name}: no {which}")
        self.read.append((files.location.name, which))
        return super().load(files, match)

    @hookimpl
    def verify(self, files, checkpoint, request):
        if checkpoint is not None and checkpoint.match.format == "inner":
            self.verified.append((files.location.name, request.options.get("which")))
        return ()


class Outer:
    """Directories with an `outer.json`, and parts below."""

    def __init__(self, parts):
        self.parts = parts

    @hookimpl
    def formats(self):
        return (Format("outer", "a directory with outer.json"),)

    @hookimpl
    def detect_format(self, files):
        for path in files.entries:
            if path.endswith("outer.json"):
                root = path.rpartition("/")[0]
                yield FormatMatch("outer", Confidence.CERTAIN, "outer.json", root, parts=self.parts)

    @hookimpl
    def load(self, files, match):
        manifest = Manifest((Component("progress", TensorTable.of({}), {"step": 3}),), metadata={"by": "outer"})
        return Own(files, match, manifest)

    @hookimpl
    def verify(self, checkpoint):
        if isinstance(checkpoint, Own):
            yield Finding("OU001", Severity.INFO, f"saw {len(checkpoint.manifest.components)} components")


class Own(StoredCheckpoint):
    """What the outer plugin opens: its own class comes back to its own hooks."""


PARTS = (Part("weights", "model", "inner"), Part("optim", "optimizer"))


@pytest.fixture
def nested(tmp_path):
    for name in ("weights", "optim"):
        (tmp_path / "run" / name).mkdir(parents=True)
        (tmp_path / "run" / name / "inner.bin").write_bytes(bytes(8) + name[:8].ljust(8).encode())
        (tmp_path / "run" / name / "notes.txt").write_text("odd")
    (tmp_path / "run" / "outer.json").write_text("{}")
    return tmp_path / "run"


@pytest.fixture
def plugins(manager):
    def register(parts=PARTS, broken=None):
        inner = Inner(broken)
        manager.register(inner, name="inner")
        manager.register(Outer(parts), name="outer")
        return inner

    return register


def by_label(checkpoint):
    return {component.label: component for component in checkpoint.manifest.components}


def test_parts_come_under_the_labels_that_the_claim_gives_and_paths_start_at_the_whole(nested, plugins, manager):
    plugins()
    checkpoint = ckpt_core.load(str(nested), manager=manager)
    found = by_label(checkpoint)
    assert list(found) == ["model", "optimizer", "progress", "config", "config:optim"]
    assert found["optimizer"].state == {"lr": 0.1}
    assert found["optimizer"].tensors["w"].chunks[0].stored.path == "optim/inner.bin"
    assert checkpoint.manifest.metadata == {"by": "outer", "weights": {"by": "inner"}, "optim": {"by": "inner"}}
    assert [asset.path for asset in checkpoint.manifest.assets] == ["weights/notes.txt", "optim/notes.txt"]
    assert checkpoint.manifest.step == 7 and type(checkpoint) is Own


def test_chunks_are_settled_by_the_part_that_they_lie_in(nested, plugins, manager):
    plugins()
    checkpoint = ckpt_core.load(str(nested), manager=manager)
    assert bytes(checkpoint.read("model", "w")) == b"weights "
    assert bytes(checkpoint.read("optimizer", "w")) == b"optim   "


def test_several_parts_of_one_kind_have_names(nested, plugins, manager):
    plugins((Part("weights", "model"), Part("optim", "model:critic")))
    checkpoint = ckpt_core.load(str(nested), manager=manager)
    assert list(by_label(checkpoint)) == ["model", "model:critic", "progress", "config", "config:critic"]


def test_a_part_without_a_label_keeps_its_own_and_gives_way_where_it_is_taken(nested, plugins, manager):
    plugins((Part("weights", ""), Part("optim", "")))
    labels = list(by_label(ckpt_core.load(str(nested), manager=manager)))
    assert labels == ["model", "model:optim", "progress", "config", "config:optim"]


def test_parts_are_no_members_of_their_own(nested, plugins, manager):
    plugins()
    found = ckpt_core.inspect(str(nested.parent), manager=manager)
    assert found.checkpoint is not None and found.checkpoint.match.format == "outer"
    detection = manager.hooks.detect_format(files=ckpt_core.list_files(str(nested.parent)))
    assert [match.root for match in detection.members] == ["run"]


@pytest.mark.parametrize("sampling", [None, ckpt_core.Sampling(0.5)])
def test_verify_asks_the_owner_of_each_part_and_says_where(sampling, nested, plugins, manager):
    inner = plugins()
    report = ckpt_core.verify(str(nested), depth=ckpt_core.Depth.BYTES, sampling=sampling, manager=manager).report
    messages = {(finding.code, finding.path): finding.message for finding in report.findings}
    assert sorted(inner.asked) == ["optim", "weights"]
    assert messages["IN002", "optim/inner.bin"] == "optim/inner.bin: worn"
    assert messages["IN001", "weights/inner.bin"] == "weights/inner.bin: odd"
    assert messages["OU001", None] == "saw 5 components"
    assert messages["IN004", "weights/inner.bin"] == "weights/inner.bin: no checksum"
    assert report.ok and len(report.findings) == 7 and report.checked_bytes == 16


def test_an_option_is_passed_to_every_part_that_has_it(nested, manager):
    choosing = Choosing()
    manager.register(choosing, "inner")
    manager.register(Outer(PARTS), "outer")
    report = ckpt_core.verify(str(nested), options={"which": "red"}, manager=manager).report
    assert choosing.read == choosing.verified == [("weights", "red"), ("optim", "red")]
    assert "CK023" not in [finding.code for finding in report.findings]
    with pytest.raises(UsageError, match=r"options\['other'\]: format outer has no such option; no format has it"):
        ckpt_core.load(str(nested), options={"other": "red"}, manager=manager)


def test_a_value_that_a_part_has_not_is_said_and_one_that_none_has_is_refused(nested, manager):
    choosing = Choosing()
    manager.register(choosing, "inner")
    manager.register(Outer(PARTS), "outer")
    found = ckpt_core.load(str(nested), options={"which": "blue"}, manager=manager).manifest.findings
    assert choosing.read == [("weights", "blue"), ("optim", None)]
    assert [(finding.severity, finding.path, finding.message) for finding in found if finding.code == "CK023"] == [
        (
            Severity.WARNING,
            "optim",
            "optim: opened without options={'which': 'blue'}, which other parts have: optim: no blue",
        )
    ]
    with pytest.raises(UsageError, match="weights: no green"):
        ckpt_core.load(str(nested), options={"which": "green"}, manager=manager)


def test_an_option_of_parts_is_for_reading_in_a_conversion_too(nested, manager, tmp_path):
    choosing = Choosing()
    manager.register(choosing, "inner")
    manager.register(Outer(PARTS), "outer")
    made = tmp_path / "made.pth"
    ckpt_core.convert(str(nested), str(made), components=["config"], options={"which": "red"}, manager=manager)
    assert ("weights", "red") in choosing.read
    assert '"source_options":{"which":"red"}' in (tmp_path / "made.pth.ckpt.json").read_text()


def test_a_short_file_of_a_part_is_named_from_the_top(nested, plugins, manager):
    plugins()
    (nested / "optim" / "inner.bin").write_bytes(bytes(12))
    found = {f.code: f for f in ckpt_core.verify(str(nested), manager=manager).report.findings}
    assert found["CV002"].path == "optim/inner.bin"


def test_a_broken_part_is_an_error_that_names_it_and_the_rest_is_verified(nested, plugins, manager):
    plugins(broken=CorruptError("inner.bin: torn", code="IN003", path="inner.bin"))
    with pytest.raises(CorruptError, match=r"^optim/inner\.bin: torn"):
        ckpt_core.load(str(nested), manager=manager)
    result = ckpt_core.verify(str(nested), manager=manager)
    found = {finding.code: finding for finding in result.report.findings}
    assert found["IN003"].path == "optim/inner.bin" and not result.report.ok
    assert "IN002" in found, "the sound part is verified all the same"


def test_a_part_that_would_run_code_stops_everything(nested, plugins, manager):
    plugins(broken=UnsafeContentError("inner.bin: runs code", path="inner.bin"))
    with pytest.raises(UnsafeContentError, match=r"optim/inner\.bin: runs code"):
        ckpt_core.verify(str(nested), manager=manager)


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (Part("gone", "model", "inner"), "gone: a part of this checkpoint, and nothing is there"),
        (Part("readme", "config"), "readme: no installed format recognises this part"),
    ],
)
def test_a_part_that_is_not_there_or_not_known_is_said(nested, plugins, manager, part, says):
    plugins((PARTS[0], part))
    (nested / "readme").write_text("…")
    found = {f.code: f.message for f in ckpt_core.verify(str(nested), manager=manager).report.findings}
    assert says in found["CK019"]


def test_a_format_that_is_its_own_part_is_a_fault_of_the_plugin(nested, plugins, manager):
    plugins((Part("", "model"),))
    with pytest.raises(ckpt_core.PluginError, match="claims to be a part of itself"):
        ckpt_core.load(str(nested), manager=manager)


def test_thousands_of_tensors_of_a_part_are_listed_without_an_object_each():
    rows = {f"w{number}": number for number in range(20_000)}
    made = []

    def info(row):
        return ckpt_core.TensorInfo(DType.F32, (2,), "x.bin", 8 * row)

    def entry(row):
        made.append(row)
        return TensorEntry(DType.F32, (2,), (Chunk((0,), (2,), ByteRange("x.bin", 8 * row, 8)),))

    table = TensorTable(rows, entry=entry, info=info).within("a/b")
    assert len(table) == 20_000 and {found.path for _, found in table.infos()} == {"a/b/x.bin"} and not made
    assert table["w3"].chunks[0].stored == ByteRange("a/b/x.bin", 24, 8) and made == [3]
