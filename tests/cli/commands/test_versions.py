"""The commands of stores of versions, as they are typed."""

import json

import pytest
import torch

import ckpt_core
from ckpt_core.cli.main import main


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Three versions, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        ckpt_core.save({"model": {"w": torch.arange(4.0) + number}}, tmp_path / f"{number}.safetensors")
        assert main(["publish", f"{number}.safetensors", "versions", "--metric", f"loss={number}", "-q"]) == 0
    return "versions"


def said(capsys, *words, code=0):
    capsys.readouterr()
    assert main([*words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_publish_names_the_version(store, capsys):
    told = said(capsys, "publish", "0.safetensors", store, "--alias", "best", "--tag", "again")["result"]
    assert (told["ref"], told["version"], told["new"], told["aliases"]) == ("versions@v3", "v3", 0, ["best"])
    told = said(capsys, "publish", "0.safetensors", store)["result"]
    assert (told["version"], told["already_there"]) == ("v3", True)


def test_log_lists_versions(store, capsys):
    versions = said(capsys, "log", store)["result"]["versions"]
    assert [(one["version"], one["metrics"]) for one in versions] == [(f"v{n}", {"loss": float(n)}) for n in range(3)]
    assert main(["log", store]) == 0
    assert "3 versions" in capsys.readouterr().out


def test_a_version_is_a_ref_like_any_other(store, capsys):
    assert said(capsys, "inspect", "versions@v1")["ok"]
    assert said(capsys, "verify", "versions@latest", "--depth", "values")["ok"]
    assert not said(capsys, "diff", "versions@v0", "versions@v2", code=1)["ok"]
    assert main(["convert", "versions@v1", "out.pth"]) == 0
    assert torch.equal(torch.load("out.pth")["w"], torch.arange(4.0) + 1)


def test_alias_stands_for_a_version(store, capsys):
    assert said(capsys, "alias", store, "best", "v1")["result"] == {"alias": "best", "version": "v1"}
    assert said(capsys, "log", store)["result"]["aliases"] == {"best": "v1"}
    assert said(capsys, "alias", store, "best", "v9", code=3)["error"]["message"].count("\n") == 0


def test_prune_shows_and_applies(store, capsys):
    assert said(capsys, "prune", store, "--keep-last", "1", code=1)["result"]["removed"] == ["v0", "v1"]
    assert said(capsys, "prune", store, "--keep-best", "loss", "--apply")["result"]["removed"] == ["v1"]
    assert said(capsys, "log", store)["result"]["pruned"] == ["v1"]
    assert main(["prune", store, "--thin-every", "2"]) == 2


def test_verify_proves_a_store(store, tmp_path, capsys):
    assert said(capsys, "verify", store)["result"]["verdict"] == "ok"
    pack = next((tmp_path / store / "objects").rglob("pack-*"))
    pack.write_bytes(pack.read_bytes()[:-1])
    told = said(capsys, "verify", store, code=4)
    assert [one["code"] for one in told["findings"]] == ["VS001"]
    assert main(["verify", store, "--for", "resume"]) == 2


def test_bisect_runs_a_command(store, capsys):
    check = ["sh", "-c", 'case "$BISECT_REF" in *@v0) exit 0;; *) exit 1;; esac']
    capsys.readouterr()
    assert main(["bisect", store, "--json", "--", *check]) == 0
    told = json.loads(capsys.readouterr().out)["result"]
    assert (told["first_bad"], told["last_good"]) == (["v1"], "v0")


def test_a_store_by_itself_is_one_clear_line(store, capsys):
    assert main(["inspect", store]) == 2
    assert "name one, as versions@latest" in capsys.readouterr().err
    assert main(["log", "nowhere"]) == 3
    assert main(["inspect", "versions@v7"]) == 3
    assert "there is v0 to v2" in capsys.readouterr().err


def test_publish_names_what_is_not_kept(store, capsys):
    told = said(capsys, "publish", "2.safetensors", store, "--tag", "late")["result"]
    assert (told["already_there"], told["not_kept"]) == (True, ["tag late"])
    assert main(["publish", "2.safetensors", store, "--tag", "late"]) == 0
    assert "not kept, since a version does not change: tag late" in capsys.readouterr().out
