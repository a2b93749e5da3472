"""The double of W&B's server by itself: what the unmodified client does to it, and what it keeps."""

import json
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from tests.servers.wandb.samples import safetensors
from tests.servers.wandb.selection import RefusedError, answer
from tests.servers.wandb.server import KEY


@pytest.mark.parametrize("algorithm", ["MD5", "XXH128"])
def test_what_the_client_logs_it_can_list_use_verify_and_download(project, folder_of, tmp_path, algorithm):
    import wandb

    files = {"model.safetensors": safetensors(1), "a/b.txt": b"x", ".hidden": b"y"}
    assert project.log("m", folder_of(files), digest_algorithm=algorithm, metadata={"step": 3}) == "v0"
    found = wandb.Api().artifact(f"{project.name}/m:latest")
    assert (found.version, found.metadata, found.digest_algorithm.name) == ("v0", {"step": 3}, f"MANIFEST_{algorithm}")
    root = found.download(root=str(tmp_path / "there"), skip_cache=True)
    found.verify(root)
    assert {name: (tmp_path / "there" / name).read_bytes() for name in files} == files
    assert [version.version for version in wandb.Api().artifacts("model", f"{project.name}/m")] == ["v0"]


def test_a_restart_forgets_nothing_but_urls_still_expire(project, folder_of):
    import wandb

    project.log("m", folder_of({"a.txt": b"hello"}), aliases=("best",))
    before = next(iter(wandb.Api().artifact(f"{project.name}/m:best").files())).direct_url
    project.server.restart()
    found = wandb.Api().artifact(f"{project.name}/m:best")
    url = next(iter(found.files())).direct_url
    assert urllib.request.urlopen(url).read() == urllib.request.urlopen(before).read() == b"hello"
    ranged = urllib.request.Request(url, headers={"Range": "bytes=1-3"})
    with urllib.request.urlopen(ranged) as response:
        assert (response.status, response.headers["Content-Range"], response.read()) == (206, "bytes 1-3/5", b"ell")
    project.server.url_seconds = -1.0
    late = next(iter(wandb.Api().artifact(f"{project.name}/m:best").files())).direct_url
    with pytest.raises(urllib.error.HTTPError, match="403") as refused:
        urllib.request.urlopen(late)
    refused.value.close()


def test_a_field_that_it_does_not_know_is_refused_by_name():
    with pytest.raises(RefusedError, match="Cannot query field 'novelty' on type 'Query'"):
        answer("query Q { novelty }", {}, lambda kind: {"__typename": "Query"})


def test_it_runs_in_a_process_of_its_own(tmp_path, project):
    command = [sys.executable, "-m", "tests.servers.wandb", str(tmp_path)]
    with subprocess.Popen(command, cwd=project.root, stdout=subprocess.PIPE, text=True) as running:
        told = dict(word.split("=", 1) for word in running.stdout.readline().split())
        request = urllib.request.Request(
            f"{told['WANDB_BASE_URL']}/graphql",
            data=json.dumps({"query": "query Viewer { viewer { entity } }"}).encode(),
            headers={"Authorization": f"Bearer {told['WANDB_API_KEY']}"},
        )
        with urllib.request.urlopen(request) as response:
            assert json.load(response) == {"data": {"viewer": {"entity": "local"}}}
        running.terminate()
    assert told["WANDB_API_KEY"] == KEY


def test_without_the_key_nothing_is_told(project):
    request = urllib.request.Request(f"{project.server.url}/graphql", data=b'{"query": "query V { viewer { name } }"}')
    with pytest.raises(urllib.error.HTTPError, match="401") as refused:
        urllib.request.urlopen(request)
    refused.value.close()
