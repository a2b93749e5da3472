"""`ckpt inspect`: totals, tensors, containers, statistics and digests, as text and as JSON."""

import json


def test_totals_by_component(ckpt, files):
    done = ckpt("inspect", files / "weights.safetensors")
    assert done.code == 0
    assert done.err == ""
    assert done.out.splitlines() == [
        f"{files}/weights.safetensors: safetensors",
        "component  dtype            tensors  parameters  bytes",
        "model      F32 12 + BF16 4        2          16   56 B",
        "metadata: origin=a test",
    ]


def test_several_components_have_a_sum(ckpt, files):
    lines = ckpt("inspect", files / "training.pth").out.splitlines()
    assert [line.split()[0] for line in lines[1:5]] == ["component", "model", "optimizer", "total"]


def test_component_shows_that_one_only(ckpt, files):
    done = ckpt("inspect", files / "training.pth", "--component", "optimizer")
    assert [line.split()[0] for line in done.out.splitlines()[1:3]] == ["component", "optimizer"]
    missing = ckpt("inspect", files / "training.pth", "--component", "ema")
    assert missing.code == 2
    assert "no component ema; it has model, optimizer" in missing.err


def test_tensors_lists_them(ckpt, files):
    done = ckpt("inspect", files / "weights.safetensors", "--tensors", "-q")
    assert done.out.splitlines() == [
        "tensor        dtype  shape  bytes",
        "embed.weight  F32    3x4     48 B",
        "norm.weight   BF16   4        8 B",
    ]


def test_a_tied_tensor_names_its_twin(ckpt, files):
    assert "head.weight = embed.weight" in ckpt("inspect", files / "tied.pth", "--tensors").out


def test_filter_lists_matching_tensors(ckpt, files):
    done = ckpt("inspect", "-q", files / "weights.safetensors", "--filter", "norm*")
    assert [line.split()[0] for line in done.out.splitlines()] == ["tensor", "norm.weight"]
    both = ckpt("inspect", "-q", files / "weights.safetensors", "--filter", "norm*", "--filter", "embed*")
    assert len(both.out.splitlines()) == 3


def test_stats_adds_values(ckpt, files):
    done = ckpt("inspect", files / "nan.safetensors", "--stats", "-q")
    assert [line.split() for line in done.out.splitlines()] == [
        ["tensor", "dtype", "shape", "bytes", "min", "max", "mean", "nan", "inf", "zeros"],
        ["embed.weight", "F32", "3x4", "48", "B", "0", "11", "5.5", "0", "0", "1"],
        ["norm.weight", "F32", "4", "16", "B", "-", "-", "-", "4", "0", "0"],
    ]


def test_fingerprint_is_that_of_the_same_weights_in_another_format(ckpt, files):
    first, second = (
        json.loads(ckpt("inspect", files / name, "--fingerprint", "--json").out)["result"]["components"][0]
        for name in ("weights.safetensors", "weights.pth")
    )
    assert len(first["fingerprint"]) == 32
    assert first["fingerprint"] == second["fingerprint"]
    assert first["fingerprint"] in ckpt("inspect", files / "weights.pth", "--fingerprint").out


def test_fingerprint_with_tensors_gives_one_of_each(ckpt, files):
    done = ckpt("inspect", files / "weights.safetensors", "--fingerprint", "--tensors", "-q")
    assert done.out.splitlines()[0].split()[-1] == "fingerprint"
    assert all(len(line.split()[-1]) == 32 for line in done.out.splitlines()[1:])


def test_a_container_is_listed_with_a_line_for_each_checkpoint(ckpt, files):
    done = ckpt("inspect", files / "run")
    lines = done.out.splitlines()
    assert done.code == 0
    assert lines[0] == f"{files}/run: 2 checkpoints"
    assert lines[1].split() == ["checkpoint", "format", "step", "evidence"]
    assert lines[2].split()[:2] == ["first.safetensors", "safetensors"]
    assert ckpt("inspect", "-q", files / "run").out == "first.safetensors\nsecond.safetensors\n"


def test_a_member_of_a_container_is_picked_by_name(ckpt, files):
    done = ckpt("inspect", f"{files}/run#second.safetensors")
    assert done.out.startswith(f"{files}/run/second.safetensors: safetensors\n")


def test_tensors_of_a_container_cannot_be_listed_and_that_is_said(ckpt, files):
    done = ckpt("inspect", files / "run", "--tensors")
    assert done.code == 2
    assert f"name one as {files}/run#first.safetensors" in done.err


def test_quiet_leaves_out_what_lies_beside_the_totals(ckpt, files):
    lines = ckpt("inspect", files / "weights.safetensors", "--quiet").out.splitlines()
    assert [line.split()[0] for line in lines] == ["component", "model"]


def test_names_from_a_file_are_escaped_and_not_read_as_markup(ckpt, on_terminal, files):
    assert "a\\x1b[31mb [bold]c" in ckpt("inspect", files / "odd.safetensors", "--tensors").out
    assert "a\\x1b[31mb [bold]c" in on_terminal("inspect", str(files / "odd.safetensors"), "--tensors").out


def test_json_gives_names_and_sizes_exactly(ckpt, files):
    done = ckpt("inspect", files / "odd.safetensors", "--tensors", "--json")
    content = json.loads(done.out)
    assert content["schema"] == "ckpt/inspect@1"
    assert content["result"]["format"] == "safetensors"
    assert content["result"]["total"]["bytes"] == 4
    assert content["result"]["tensors"] == [
        {
            "component": "model",
            "name": "a\x1b[31mb [bold]c",
            "dtype": "F32",
            "shape": [1],
            "bytes": 4,
            "alias_of": None,
        }
    ]


def test_a_broken_file_ends_with_4_and_says_what_is_wrong(ckpt, files):
    done = ckpt("inspect", files / "cut.safetensors")
    assert done.code == 4
    assert done.out == ""
    assert "ckpt: error ST007: cut.safetensors: tensor norm.weight ends 3 bytes after the file (truncated?)" in done.err
    content = json.loads(ckpt("inspect", files / "cut.safetensors", "--json").out)
    assert content["error"]["type"] == "CorruptError"
    assert content["result"] is None
    assert [(finding["code"], finding["tensor"]) for finding in content["findings"]] == [("ST007", "norm.weight")]


def test_neither_ref_nor_hint_is_a_usage_error(ckpt, files, plugins):
    done = ckpt("inspect")
    assert done.code == 2
    assert "Missing argument 'REF'" in done.err
    hinted = ckpt("inspect", "--hint", f"shelf={files}/weights.pth", PYTHONPATH=plugins)
    assert hinted.out.startswith(f"{files}/weights.pth: torch\n")
