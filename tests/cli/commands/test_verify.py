"""`ckpt verify`: findings, depth, and the exit code that scripts act on."""

import json
import re
from xml.etree import ElementTree

DEEPER = "--depth bytes would find what does not match its checksum, --depth values NaN and infinities too"


def test_a_sound_file_ends_with_0(ckpt, files):
    done = ckpt("verify", files / "weights.safetensors")
    assert done == (0, f"ok: headers and sizes only: nothing wrong; 2 tensors; {DEEPER}\n", "")


def test_an_ok_says_what_it_rests_on_and_what_a_deeper_look_would_find(ckpt, files):
    sound = files / "weights.safetensors"
    assert ckpt("verify", sound, "--depth", "bytes").out.splitlines()[-1] == (
        "ok: 56 B read: 1 note; 2 tensors; --depth values would find NaN and infinities too"
    )
    assert ckpt("verify", sound, "--depth", "values").out.splitlines()[-1] == "ok: 56 B read: 1 note; 2 tensors"
    assert ckpt("verify", files / "cut.safetensors").out.splitlines()[-1] == (
        "error: 1 error; 0 tensors, headers and sizes only"
    )


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
    assert set(finding) == {"code", "severity", "message", "path", "tensor", "hint", "component"}
    assert (finding["code"], finding["severity"], finding["tensor"]) == ("ST007", "error", "norm.weight")


def test_what_could_not_be_checked_is_an_error_and_never_0(ckpt, files):
    assert ckpt("verify", files / "nowhere").code == 3
    assert ckpt("verify", files / "weights.safetensors", "--depth", "deepest").code == 2


def test_a_folder_is_verified_checkpoint_by_checkpoint(ckpt, files):
    done = ckpt("verify", files / "run")
    rows = [line.split() for line in done.out.splitlines()]
    assert done.code == 0
    assert [row[1:4] for row in rows[1:-1]] == [["safetensors", "-", "ok"]] * 2
    assert done.out.splitlines()[-1].startswith("2 checkpoints: headers and sizes only; --depth bytes would find")
    deeper = ckpt("verify", files / "run", "--depth", "values").out.splitlines()[-1]
    assert re.fullmatch(r"2 checkpoints: [\d.]+ (B|KiB) read", deeper)
    assert ckpt("verify", files / "run", "--for", "resume").code == 4


def test_a_profile_gets_a_line_for_each_component_and_a_verdict(ckpt, files):
    done = ckpt("verify", files / "training.pth", "--for", "resume", "--without", "scheduler")
    assert done.code == 4
    lines = {row[0]: row[1:3] for row in (line.split() for line in done.out.splitlines()[1:5])}
    assert lines["model"] == ["present", "needed"]
    assert lines["scheduler"][:2] == ["not", "needed"]
    assert lines["progress"] == ["absent", "needed"]
    assert done.out.splitlines()[-1] == "PARTIAL for resume: progress absent"
    assert ckpt("verify", "-q", files / "training.pth", "--for", "inference") == (0, "COMPLETE\n", "")


def test_json_has_the_assessment(ckpt, files):
    content = json.loads(ckpt("verify", files / "training.pth", "--for", "resume", "--report", "json").out)
    assessment = content["result"]["assessment"]
    assert (assessment["profile"], assessment["verdict"], content["exit"]) == ("resume", "PARTIAL", 4)
    assert {c["component"]: c["met"] for c in assessment["components"]}["optimizer"] is True


def test_sarif_has_a_result_for_each_finding_and_each_lack(ckpt, files):
    done = ckpt("verify", files / "cut.safetensors", "--report", "sarif")
    run = json.loads(done.out)["runs"][0]
    assert done.code == 4
    assert [(r["ruleId"], r["level"]) for r in run["results"]] == [("ST007", "error")]
    lacking = json.loads(ckpt("verify", files / "training.pth", "--for", "resume", "--report", "sarif").out)
    assert {r["message"]["text"] for r in lacking["runs"][0]["results"]} == {"progress is absent"}
    assert {rule["id"] for rule in lacking["runs"][0]["tool"]["driver"]["rules"]} == {"CK017"}


def test_junit_has_a_suite_for_each_checkpoint(ckpt, files):
    sound = ElementTree.fromstring(ckpt("verify", files / "run", "--report", "junit").out)
    assert [(suite.get("tests"), suite.get("failures")) for suite in sound] == [("1", "0")] * 2
    broken = ElementTree.fromstring(ckpt("verify", files / "cut.safetensors", "--report", "junit").out)
    assert broken[0].get("failures") == "1" and "3 bytes" in broken[0][0][0].get("message")


def test_a_report_and_a_format_can_both_be_named(ckpt, files):
    done = ckpt("verify", files / "weights.pth", "--report", "json", "--format", "torch")
    assert json.loads(done.out)["result"]["format"] == "torch"
    old = ckpt("verify", files / "weights.pth", "--format", "sarif")
    assert old.code == 2
    assert "how to report is --report sarif" in old.err
    assert ckpt("verify", files / "weights.pth", "--format", "safetensors").code != 0


def test_without_needs_a_profile(ckpt, files):
    assert ckpt("verify", files / "weights.pth", "--without", "scheduler").code == 2


def test_a_certificate_that_holds_says_what_it_proved(ckpt, files, tmp_path):
    out = tmp_path / "half.safetensors"
    assert ckpt("convert", files / "weights.pth", out, "--dtype", "bf16").code == 0
    done = ckpt("verify", out, "--certificate")
    assert done.code == 0
    assert done.out.splitlines()[-2] == (
        f"certificate: 2 tensors made again of {files}/weights.pth and equal: 1 by cast F32 to BF16, 1 by copy"
    )
    said = json.loads(ckpt("verify", out, "--certificate", "--json").out)["result"]["certificate"]
    assert said == {
        "source": f"{files}/weights.pth",
        "base": None,
        "operations": {"cast F32 to BF16": 1, "copy": 1},
        "holds": True,
    }
    assert json.loads(ckpt("verify", out, "--json").out)["result"]["certificate"] is None


def test_a_certificate_that_does_not_hold_proves_nothing(ckpt, files, tmp_path):
    out = tmp_path / "copy.safetensors"
    assert ckpt("convert", files / "weights.pth", out).code == 0
    other = ckpt("verify", out, "--certificate", "--source", files / "nan.safetensors")
    assert other.code == 4
    assert "certificate: " not in other.out
    assert "CA003" in other.out
