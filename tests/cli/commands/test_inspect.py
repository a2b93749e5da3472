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


def _progress(tmp_path):
    import torch

    layer = torch.nn.Linear(4, 2)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.002)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 5)
    content = {"model": layer.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    more = {"step": 40, "epoch": 3, "best_val_loss": 1.25, "loss": 0.75, "torch_version": "2.13.0"}
    torch.save({**content, **more}, tmp_path / "a.pt")
    return tmp_path / "a.pt"


def test_how_far_a_training_was_has_a_line_of_its_own(ckpt, tmp_path):
    path = _progress(tmp_path)
    lines = ckpt("inspect", path).out.splitlines()
    assert lines[0] == f"{path}: torch, step 40"
    assert "training: step 40, epoch 3, best_val_loss 1.25, learning rate 0.002, loss 0.75" in lines
    assert "versions: torch 2.13.0" in lines
    training = json.loads(ckpt("inspect", path, "--json").out)["result"]["training"]
    assert training == {
        "step": 40,
        "epoch": 3,
        "best": [{"name": "best_val_loss", "value": 1.25, "where": None}],
        "learning_rates": [0.002],
        "losses": [{"name": "loss", "value": 0.75, "step": None}],
        "versions": {"torch": "2.13.0"},
    }


def test_weights_alone_have_no_line_of_a_training(ckpt, files):
    assert not [line for line in ckpt("inspect", files / "tied.pth").out.splitlines() if line.startswith("training")]


def test_a_component_without_tensors_shows_its_state(ckpt, tmp_path):
    path = _progress(tmp_path)
    row = next(line for line in ckpt("inspect", path).out.splitlines() if line.startswith("scheduler"))
    assert row.split()[:6] == ["scheduler", "-", "-", "-", "-", "step_size=5,"]
    assert "0 B" not in row
    found = json.loads(ckpt("inspect", path, "--json").out)["result"]["components"]
    state = {one["component"]: one.get("state") for one in found}
    assert (state["scheduler"]["step_size"], state["scheduler"]["base_lrs"]) == (5, [0.002])
    assert state["model"] is None


def test_a_long_note_is_one_line_and_verbose_shows_it_all(ckpt, tmp_path):
    import sys
    import types

    import torch

    module = types.ModuleType("a_package_of_somebody_with_a_long_name")
    sys.modules[module.__name__] = module
    try:
        for number in range(5):
            name = f"ALongClassNameOfATrainingProgram{number}"
            setattr(module, name, type(name, (), {"__module__": module.__name__}))
        content = {
            f"key{number}": getattr(module, f"ALongClassNameOfATrainingProgram{number}")() for number in range(5)
        }
        torch.save({"model": {"w": torch.ones(2)}, **content}, tmp_path / "a.pt")
    finally:
        del sys.modules[module.__name__]
    for verb in ("inspect", "verify"):
        short, full = ckpt(verb, tmp_path / "a.pt").out, ckpt(verb, tmp_path / "a.pt", "-v").out
        line = next(line for line in short.splitlines() if line.startswith("PK004"))
        assert len(line) < 180
        assert line.endswith("(-v shows it all)")
        assert "nothing of it was imported or called here" not in short
        assert "nothing of it was imported or called here" in full
        (said,) = [
            f for f in json.loads(ckpt(verb, tmp_path / "a.pt", "--json").out)["findings"] if f["code"] == "PK004"
        ]
        assert said["message"].endswith("nothing of it was imported or called here")


def test_hostile_state_is_shown_in_a_few_words(ckpt, tmp_path):
    import torch

    state = {"last_epoch": 10**400, "a\x1b[31m": ["x" * 9999, 10**400], "b": {"c": {}}, "c": [10**400]}
    torch.save({"model": {"w": torch.ones(2)}, "scheduler": state}, tmp_path / "a.pt")
    done = ckpt("inspect", tmp_path / "a.pt")
    assert done.code == 0
    (row,) = [line for line in done.out.splitlines() if line.startswith("scheduler")]
    assert len(row) < 300
    assert "\x1b" not in row
    assert ckpt("inspect", tmp_path / "a.pt", "--json").code == 0
