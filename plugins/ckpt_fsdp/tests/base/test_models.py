"""Converting onto a base model: a complete directory of the base's structure with the trained weights in it."""

import json
import os
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import ckpt_core
from ckpt_core import Depth, OverwriteError, UsageError
from ckpt_core.errors import BaseMismatchError
from ckpt_core.verbs.certify import certify
from ckpt_core.verbs.convert import convert

INDEX = "model.safetensors.index.json"


@pytest.fixture
def trained(tiny_bagel, tmp_path):
    """What a trainer saved with torch: a model, its average, an optimizer. `change` edits the tensors first."""

    def save(change=lambda state: None, name="train.pt", **more):
        state = {
            "model": tiny_bagel.build(0, linear=False, **more).state_dict(),
            "ema": tiny_bagel.build(1, linear=False, **more).state_dict(),
            "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []},
        }
        change(state)
        torch.save(state, tmp_path / name)
        return tmp_path / name

    return save


@pytest.fixture
def onto(base_model, tmp_path):
    """Convert onto the base; gives the place and what `convert` says."""

    def run(source, name="out", base=base_model, **how):
        done = convert(str(source), str(tmp_path / name), to="hf", base=str(base), **{"dtypes": ["BF16"], **how})
        return tmp_path / name, done

    return run


def expected(tiny_bagel, seed):
    """The trained weights as they are published: the patch embedding a linear map, all of it bfloat16."""
    state = tiny_bagel.build(seed, linear=False).state_dict()
    conv = state[tiny_bagel.PATCH_EMBEDDING]
    state[tiny_bagel.PATCH_EMBEDDING] = conv.permute(0, 2, 3, 1).reshape(len(conv), -1)
    return {name: tensor.bfloat16() for name, tensor in state.items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def answers_of(tiny_bagel, folder, weights):
    return tiny_bagel.answers(tiny_bagel.open_published(folder, weights))


def test_the_directory_is_complete_and_opens_as_what_was_trained(trained, onto, base_model, tiny_bagel):
    out, _ = onto(trained())
    made = {path.name for path in out.iterdir()} - {"ckpt.manifest.json", "ckpt.blocks"}
    assert made == {path.name for path in base_model.iterdir()} | {"model.safetensors"}
    for path in base_model.iterdir():
        if path.name not in ("ema.safetensors", INDEX):
            named = path.read_bytes().replace(b'"float32"', b'"bfloat16"')  # the type of the weights, which were cast
            assert (out / path.name).read_bytes() == (named if path.name == "config.json" else path.read_bytes())
    assert equal(load_file(out / "model.safetensors"), expected(tiny_bagel, 0))
    assert equal(load_file(out / "ema.safetensors"), expected(tiny_bagel, 1))
    main, average = (answers_of(tiny_bagel, out, f"{name}.safetensors") for name in ("model", "ema"))
    for seed, found in ((0, main), (1, average)):
        model = tiny_bagel.build(seed, linear=False).bfloat16()
        for wanted, given in zip(tiny_bagel.answers(model), found, strict=True):
            assert torch.allclose(wanted, given, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(main[0], average[0], atol=0.1)


def test_without_a_cast_every_file_beside_the_weights_is_the_base_s_own(trained, onto, base_model):
    out, _ = onto(trained(), dtypes=[])
    beside = [path for path in base_model.iterdir() if path.name not in ("ema.safetensors", INDEX)]
    assert all((out / path.name).read_bytes() == path.read_bytes() for path in beside)


def test_each_component_has_the_fingerprint_of_its_own_source(trained, onto, tiny_bagel, tmp_path):
    _, done = onto(trained(), dtypes=[])
    assert set(done.report.components) == {"model", "ema"} and len(set(done.report.components.values())) == 2
    published = {name: tiny_bagel.build(seed, linear=False) for name, seed in (("model", 0), ("ema", 1))}
    for name, model in published.items():
        state = model.state_dict()
        conv = state[tiny_bagel.PATCH_EMBEDDING]
        state[tiny_bagel.PATCH_EMBEDDING] = conv.permute(0, 2, 3, 1).reshape(len(conv), -1).contiguous()
        same = ckpt_core.save(state, str(tmp_path / f"{name}.safetensors"))
        assert same.components["model"] == done.report.components[name]


@pytest.mark.parametrize(("models", "written"), [("main", {"model"}), ("ema", {"ema"}), ("both", {"model", "ema"})])
def test_models_says_which_files_are_written_and_what_the_index_names(trained, onto, models, written):
    out, done = onto(trained(), models=models)
    assert {one.component for one in done.fits} == written
    assert {path.stem for path in out.glob("*.safetensors")} == written | {"ae"}
    index = json.loads((out / INDEX).read_text())
    named = "model" if "model" in written else "ema"
    tensors = load_file(out / f"{named}.safetensors")
    assert index["weight_map"] == dict.fromkeys(tensors, f"{named}.safetensors")
    assert index["metadata"]["total_size"] == sum(t.numel() * t.element_size() for t in tensors.values())
    report = ckpt_core.verify(str(out), depth=Depth.VALUES).report
    assert not report.findings


def test_in_shards_the_average_has_an_index_of_its_own(trained, onto, tiny_bagel):
    out, _ = onto(trained(), options={"max_shard_size": "12KB"})
    for stem, seed in (("model", 0), ("ema", 1)):
        index = json.loads((out / f"{stem}.safetensors.index.json").read_text())
        found = {}
        for path in set(index["weight_map"].values()):
            found |= load_file(out / path)
        assert len(set(index["weight_map"].values())) > 1 and equal(found, expected(tiny_bagel, seed))
    assert not (out / "model.safetensors").exists()


@pytest.mark.parametrize("models", ["ema", "both"])
def test_an_average_that_is_not_there_is_never_made_of_the_model(trained, onto, tmp_path, models):
    source = trained(lambda state: state.pop("ema"))
    with pytest.raises(UsageError, match=r"has no ema .*models='main'"):
        onto(source, models=models)
    assert not (tmp_path / "out").exists()
    out, _ = onto(source, models="main")
    assert not (out / "ema.safetensors").exists()


def test_a_base_that_has_both_is_held_against_its_own_kind(trained, onto, base_model, tiny_bagel, tmp_path):
    both = shutil.copytree(base_model, tmp_path / "both")
    shutil.copy(base_model / "ema.safetensors", both / "model.safetensors")
    _, done = onto(trained(), base=both)
    assert [(one.component, one.base) for one in done.fits] == [("model", "model"), ("ema", "ema")]


def test_the_type_is_that_of_each_tensor_and_of_a_pattern_that_names_the_bases(trained, onto):
    out, _ = onto(trained(), dtypes=["BF16", "*norm*=F32"])
    with safe_open(out / "model.safetensors", "pt") as file:
        types = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    assert {kind for name, kind in types.items() if "norm" in name} == {"F32"}
    assert {kind for name, kind in types.items() if "norm" not in name} == {"BF16"}


def test_wrappers_and_a_leading_model_are_taken_off_and_said(trained, onto, tiny_bagel):
    def wrap(state):
        state["model"] = {f"module._fsdp_wrapped_module.{name}": t for name, t in state["model"].items()}
        state["ema"] = {f"model.{name}": t for name, t in state["ema"].items()}

    out, done = onto(trained(wrap))
    main, average = done.fits
    assert main.stripped == {"module": 85, "_fsdp_wrapped_module": 85} and average.stripped == {"model": 85}
    assert equal(load_file(out / "model.safetensors"), expected(tiny_bagel, 0))
    assert equal(load_file(out / "ema.safetensors"), expected(tiny_bagel, 1))


def test_position_tables_that_only_the_base_has_are_the_bases_bit_for_bit(trained, onto, base_model, tiny_bagel):
    def drop(state):
        for name in tiny_bagel.TABLES:
            del state["model"][name]

    out, done = onto(trained(drop), dtypes=["*embed_tokens*=BF16"])
    assert done.fits[0].taken == tiny_bagel.TABLES and done.fits[1].taken == ()
    theirs, ours = load_file(base_model / "ema.safetensors"), load_file(out / "model.safetensors")
    for name in tiny_bagel.TABLES:
        assert torch.equal(ours[name], theirs[name])
    assert certify(str(out)) == []


def test_position_tables_that_the_base_lacks_are_left_out(trained, onto, tiny_bagel, tmp_path):
    bare = tiny_bagel.publish(tmp_path / "bare", tables=False)
    out, done = onto(trained(), base=bare)
    assert [sorted(one.left_out) for one in done.fits] == [list(tiny_bagel.TABLES)] * 2
    assert not set(tiny_bagel.TABLES) & set(load_file(out / "model.safetensors"))


def test_a_table_of_another_size_is_refused_although_it_is_optional(trained, onto, tiny_bagel):
    def widen(state):
        state["model"][tiny_bagel.TABLES[0]] = torch.zeros(9, 16)

    with pytest.raises(BaseMismatchError, match=r"1 mismatched .*F32 \[9, 16\] against BF16 \[4, 16\]"):
        onto(trained(widen))


def test_other_tensors_are_optional_only_where_that_is_asked_for(trained, onto, base_model):
    def drop(state):
        del state["model"]["connector.fc1.bias"]
        state["model"]["probe.weight"] = torch.zeros(2)

    source = trained(drop)
    with pytest.raises(BaseMismatchError, match=r"1 missing .*, 1 extra"):
        onto(source)
    out, done = onto(source, optional=["probe.*", "connector.fc1.bias"])
    assert (done.fits[0].taken, done.fits[0].left_out) == (("connector.fc1.bias",), ("probe.weight",))
    name = "connector.fc1.bias"
    theirs = load_file(base_model / "ema.safetensors")
    assert torch.equal(load_file(out / "model.safetensors")[name], theirs[name])


@pytest.mark.parametrize("layers", [1, 3])
def test_a_base_with_one_layer_more_or_less_is_refused_with_every_name(trained, onto, tiny_bagel, tmp_path, layers):
    other = tiny_bagel.publish(tmp_path / "other", layers=layers)
    with pytest.raises(BaseMismatchError) as caught:
        onto(trained(), base=other)
    assert (caught.value.code, caught.value.exit_code) == ("CA006", 4)
    for one in caught.value.fits:
        found = one.missing if layers == 3 else one.extra
        assert len(found) == 30 and all(f".layers.{min(layers, 2)}." in name for name in found)
        assert not (one.extra if layers == 3 else one.missing)
    assert "30 missing" in str(caught.value) or "30 extra" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_whole_numbers_are_no_weights(trained, onto):
    def quantize(state):
        state["model"]["lm_head.weight"] = state["model"].pop("language_model.lm_head.weight").to(torch.int8)
        state["model"]["language_model.lm_head.weight"] = state["model"].pop("lm_head.weight")

    with pytest.raises(BaseMismatchError, match=r"1 mismatched .*I8"):
        onto(trained(quantize))


def test_the_convolution_becomes_a_linear_map_once_and_comes_back(trained, onto, tiny_bagel, tmp_path):
    name = tiny_bagel.PATCH_EMBEDDING
    out, done = onto(trained(), dtypes=[])
    assert {how.operation for one in done.fits for how in one.rearranged.values()} == {"conv2d to linear"}
    again, done = onto(out, "again", dtypes=[])
    assert [one.rearranged for one in done.fits] == [{}, {}]
    assert equal(load_file(again / "model.safetensors"), load_file(out / "model.safetensors"))
    convolved = tmp_path / "convolved"
    shutil.copytree(out, convolved, ignore=shutil.ignore_patterns("*.safetensors", "ckpt.*", INDEX))
    ckpt_core.save(tiny_bagel.build(3, linear=False).state_dict(), str(convolved / "model.safetensors"))
    (convolved / "model.safetensors.ckpt.json").unlink()
    back, done = onto(out, "back", base=convolved, dtypes=[])
    assert {how.operation for one in done.fits for how in one.rearranged.values()} == {"linear to conv2d"}
    wanted = tiny_bagel.build(0, linear=False).state_dict()[name]
    assert torch.equal(load_file(back / "model.safetensors")[name], wanted)
    assert certify(str(back)) == []


def test_the_certificate_says_every_step_and_can_be_checked_again(trained, onto, tiny_bagel, base_model, tmp_path):
    out, _ = onto(trained(lambda state: state["ema"].pop(tiny_bagel.TABLES[0])))
    certificates = json.loads((out / "ckpt.manifest.json").read_text())["certificates"]
    operations = {name: operation for name, (_, _, operation, _) in certificates.items()}
    assert operations[f"model/{tiny_bagel.PATCH_EMBEDDING}"] == "conv2d to linear; cast F32 to BF16"
    assert operations[f"ema/{tiny_bagel.TABLES[0]}"] == "take from the base"
    assert certify(str(out)) == []
    moved = shutil.copytree(base_model, tmp_path / "moved")
    assert certify(str(out), base=str(moved)) == []
    table = bytearray((moved / "ema.safetensors").read_bytes())
    at = ckpt_core.load(str(moved)).component("ema").tensors.info(tiny_bagel.TABLES[0]).offset
    table[at + 3] ^= 1
    (moved / "ema.safetensors").write_bytes(table)
    assert [(f.code, f.tensor) for f in certify(str(out), base=str(moved))] == [
        ("CA003", tiny_bagel.TABLES[0]),
        ("CA005", tiny_bagel.TABLES[0]),
    ]


def test_a_reshape_in_place_of_the_permutation_is_found_by_the_certificate(trained, onto, tiny_bagel):
    out, _ = onto(trained(), models="main", dtypes=[])
    name = tiny_bagel.PATCH_EMBEDDING
    info = ckpt_core.load(str(out)).component("model").tensors.info(name)
    reshaped = tiny_bagel.build(0, linear=False).state_dict()[name].numpy().tobytes()
    with open(out / "model.safetensors", "r+b") as file:
        file.seek(info.offset)
        file.write(reshaped)
    assert [finding.code for finding in certify(str(out))] == ["CA004", "CA005"]


@pytest.mark.parametrize(
    "place", ["base", "base/", "base//.", "base/inside", "base/in/side", "x/../base", "link", "link/inside", "."]
)
def test_nothing_is_written_to_the_base_however_it_is_spelled(trained, onto, base_model, tmp_path, monkeypatch, place):
    source = trained()
    source.rename(tmp_path.parent / f"{tmp_path.name}.pt")
    (tmp_path / "link").symlink_to(base_model)
    (tmp_path / "x").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OverwriteError, match="the base model"):
        convert(f"../{tmp_path.name}.pt", place, to="hf", base="base", force=True)


def test_nothing_is_written_where_the_files_of_a_linked_base_really_are(trained, base_model, tmp_path):
    snapshot = tmp_path / "models--o--n" / "snapshots" / "abc"
    blobs = tmp_path / "models--o--n" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in base_model.iterdir():
        shutil.copy(path, blobs / path.name)
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    with pytest.raises(OverwriteError, match="the base model"):
        convert(str(trained()), str(blobs), to="hf", base=str(snapshot), force=True)
    convert(str(trained()), str(tmp_path / "out"), to="hf", base=str(snapshot))


def test_a_base_that_is_cut_short_or_has_no_weights_is_refused(trained, onto, base_model, tmp_path):
    cut = shutil.copytree(base_model, tmp_path / "cut")
    (cut / "ema.safetensors").write_bytes((cut / "ema.safetensors").read_bytes()[:-1])
    with pytest.raises(ckpt_core.CorruptError, match=r"ema\.safetensors"):
        onto(trained(), base=cut)
    (cut / "ema.safetensors").unlink()
    with pytest.raises(ckpt_core.CkptError):
        onto(trained(), base=cut)


def test_a_base_that_is_written_meanwhile_ends_it_and_nothing_is_committed(trained, base_model, tmp_path):
    moving = shutil.copytree(base_model, tmp_path / "moving")

    class Meddling:
        def begin(self, total):
            os.utime(moving / "ema.safetensors", ns=(1, 1))

        def advance(self, done):
            pass

    with pytest.raises(ckpt_core.ReplacedError, match=r"ema\.safetensors: was replaced while it was read"):
        convert(str(trained()), str(tmp_path / "out"), to="hf", base=str(moving), progress=Meddling())
    assert not (tmp_path / "out").exists()


def test_a_base_behind_a_url_is_read_there(trained, base_model, tmp_path):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(base_model), "/published/base", recursive=True)
    try:
        done = convert(str(trained()), str(tmp_path / "out"), to="hf", base="memory://published/base")
        assert done.base == "memory://published/base" and (tmp_path / "out" / "ae.safetensors").exists()
    finally:
        memory.rm("/published", recursive=True)


def test_what_is_tied_is_written_as_the_base_has_it(onto, tiny_bagel, base_model, tmp_path):
    state = tiny_bagel.build(0, linear=False).state_dict()
    state["language_model.lm_head.weight"] = state["language_model.model.embed_tokens.weight"]
    torch.save({"model": state}, tmp_path / "tied.pt")
    out, _ = onto(tmp_path / "tied.pt", models="main")
    found = load_file(out / "model.safetensors")
    assert torch.equal(found["language_model.lm_head.weight"], found["language_model.model.embed_tokens.weight"])
    once = {name: t for name, t in load_file(base_model / "ema.safetensors").items() if "lm_head" not in name}
    lean = shutil.copytree(base_model, tmp_path / "lean", ignore=shutil.ignore_patterns(INDEX, "ema.safetensors"))
    ckpt_core.save(once, str(lean / "ema.safetensors"))
    (lean / "ema.safetensors.ckpt.json").unlink()
    out, done = onto(tmp_path / "tied.pt", "lean_out", base=lean, models="main")
    assert done.fits[0].left_out == ("language_model.lm_head.weight",)
    assert set(load_file(out / "model.safetensors")) == set(once)


def test_a_dry_run_says_how_it_fits_and_writes_nothing(trained, onto):
    out, done = onto(trained(), dry_run=True)
    assert len(done.fits) == 2 and not out.exists()
    assert done.forecast.files["ema.safetensors"] > 0
