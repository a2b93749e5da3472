"""`ckpt verify`: findings, depth, and the exit code that scripts act on."""

import json


def test_a_sound_file_ends_with_0(ckpt, files):
    done = ckpt("verify", files / "weights.safetensors")
    assert done == (0, "ok: nothing wrong; 2 tensors, headers and sizes only\n", "")


def test_depth_decides_what_is_found(ckpt, files):
    assert ckpt("verify", files / "nan.safetensors").code == 0
    assert "64 B read" in ckpt("verify", files / "nan.safetensors", "--depth", "bytes").out
    done = ckpt("verify", files / "nan.safetensors", "--depth", "values")
    assert done.code == 4
    assert done.out.splitlines()[0] == "VL001 error    nan.safetensors  norm.weight: 4 of 4 values are NaN"
    assert done.out.splitlines()[-1].startswith("error: 1 error, ")


def test_fail_on_warning_makes_a_warning_count(ckpt, files):
    asked = ("verify", files / "infinite.safetensors", "--depth", "values")
    assert ckpt(*asked).code == 0
    assert ckpt(*asked, "--fail-on", "error").code == 0
    assert ckpt(*asked, "--fail-on", "warning").code == 1


def test_quiet_prints_the_worst_only(ckpt, files):
    assert ckpt("verify", "-q", files / "weights.safetensors") == (0, "ok\n", "")
    assert ckpt("verify", "-q", files / "infinite.safetensors", "--depth", "values").out == "warning\n"
    assert ckpt("verify", "-q", files / "cut.safetensors") == (4, "error\n", "")


def test_damage_is_a_finding_with_its_code(ckpt, files):
    done = ckpt("verify", files / "cut.safetensors")
    assert done.code == 4
    assert done.out.startswith("ST007 error    cut.safetensors  tensor norm.weight ends 3 bytes after the file")


def test_a_finding_shows_its_hint(ckpt, files):
    done = ckpt("verify", files / "infinite.safetensors", "--depth", "values")
    assert "    hint: mask buffers may hold them on purpose" in done.out.splitlines()


def test_json_has_the_findings(ckpt, files):
    done = ckpt("verify", files / "cut.safetensors", "--json")
    content = json.loads(done.out)
    assert (content["schema"], content["ok"], content["exit"], done.code) == ("ckpt/verify@1", False, 4, 4)
    assert content["result"]["worst"] == "error"
    finding = content["findings"][0]
    assert set(finding) == {"code", "severity", "message", "path", "tensor", "hint"}
    assert (finding["code"], finding["severity"], finding["tensor"]) == ("ST007", "error", "norm.weight")


def test_what_could_not_be_checked_is_an_error_and_never_0(ckpt, files):
    assert ckpt("verify", files / "nowhere").code == 3
    assert ckpt("verify", files / "run").code == 2
    assert ckpt("verify", files / "weights.safetensors", "--depth", "deepest").code == 2
