"""The commands that write, at a store: what they say, and that the step which a message gives works."""

import json

import numpy as np
import pytest

import ckpt_core
from ckpt_core.storage.objects.open_store import open_store


@pytest.fixture
def sources(tmp_path):
    for value in (1, 2):
        ckpt_core.save({"w": np.full(9, value, "f4")}, str(tmp_path / f"{value}.safetensors"))
    return tmp_path


@pytest.mark.parametrize(("name", "to"), [("out", "hf"), ("out.pth", "torch")])
def test_what_is_there_is_replaced_as_the_message_says(ckpt, sources, s3, name, to):
    url = f"{s3.url}/{name}"
    assert ckpt("convert", sources / "1.safetensors", url, "--to", to).code == 0
    again = ckpt("convert", sources / "1.safetensors", url, "--to", to)
    assert again.code == 0 and "already done" in again.out
    refused = ckpt("convert", sources / "2.safetensors", url, "--to", to)
    assert refused.code == 9 and "exists; choose another place, or --force to replace it" in refused.err
    done = ckpt("convert", sources / "2.safetensors", url, "--to", to, "--force")
    assert done.code == 0 and f"{url}: {to}" in done.out
    assert ckpt("diff", sources / "2.safetensors", url).code == 0
    assert ckpt("verify", url).code == 0
    shown, told = ckpt("inspect", url), json.loads(ckpt("inspect", url, "--json").out)["result"]
    replaced = name == "out"
    assert ("replaced in its store" in shown.out) == replaced
    assert (told["generation"] or "").startswith(".ckpt-generation-") == replaced


def test_what_is_not_finished_is_said_to_be_and_the_next_step_works(ckpt, sources, s3):
    url = f"{s3.url}/out"
    store, root = open_store(url)
    store.put(f"{root}/.ckpt-unfinished.json", b"{}")
    store.put(f"{root}/model.safetensors", b"x")
    for verb in ("inspect", "verify"):
        done = ckpt(verb, url)
        assert done.code == 4 and "WR001" in done.err and "not finished" in done.err, done.err
    store.delete([f"{root}/.ckpt-unfinished.json", f"{root}/model.safetensors"])
    assert ckpt("convert", sources / "1.safetensors", url, "--to", "hf").code == 0


def test_requests_and_bytes_are_told_beforehand(ckpt, sources, s3):
    done = ckpt("convert", sources / "1.safetensors", f"{s3.url}/out", "--to", "hf", "--dry-run")
    assert done.code == 0 and " requests, in at most " in done.out
    told = json.loads(
        ckpt("convert", sources / "1.safetensors", f"{s3.url}/o", "--to", "hf", "--dry-run", "--json").out
    )
    assert told["result"]["requests"] >= 6 and told["result"]["bytes_written"] > 0
    assert s3.names() == []


def test_a_checkpoint_of_others_is_sealed(ckpt, sources, s3):
    url = s3.put("theirs.safetensors", (sources / "1.safetensors").read_bytes())
    assert ckpt("seal", url, "--sha256").code == 0
    assert s3.names() == ["theirs.safetensors", "theirs.safetensors.ckpt.json", "theirs.safetensors.sha256"]
    assert ckpt("seal", url).code == 9
    assert ckpt("seal", url, "--force").code == 0
    s3.put("theirs.safetensors", (sources / "2.safetensors").read_bytes())
    done = ckpt("verify", url, "--depth", "bytes", "-v")
    assert done.code == 0 and "WR003" in done.out + done.err
