"""`--storage-option` and `storage_options=` reach the client of a store; a secret on the command line is refused."""

import json
import os
import subprocess
import sys

import pytest

import ckpt_core
from ckpt_core.cli.main import main
from ckpt_core.errors import UsageError
from ckpt_core.storage.remote.options import given_options, storage_options


@pytest.fixture
def elsewhere(s3, tmp_path, monkeypatch):
    """A checkpoint on a server that only an option tells of, and that server's address."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import save

    url = s3.put("m.safetensors", save({"w": torch.ones(4)}))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("CKPT_REMOTE_TIMEOUT", "3")
    return url, s3.env["AWS_ENDPOINT_URL_S3"]


def test_an_option_of_the_command_line_reaches_the_client_and_ends_with_the_command(elsewhere, capsys):
    url, endpoint = elsewhere
    for verb in ("inspect", "verify", "locate"):
        assert main([verb, url, "--storage-option", f"endpoint_url={endpoint}", "-q"]) == 0
        assert given_options() == {}
    assert main(["inspect", url]) == 5
    assert "no server answers" in capsys.readouterr().err


def test_an_option_of_python_holds_for_the_checkpoint_as_long_as_it_is_read(elsewhere):
    url, endpoint = elsewhere
    opened = ckpt_core.load(url, storage_options={"endpoint_url": endpoint})
    assert given_options() == {}
    assert opened.to_torch()["w"].sum() == 4
    opened.check_unchanged(failed=True)
    assert ckpt_core.verify(url, storage_options={"endpoint_url": endpoint}).report.ok


@pytest.mark.parametrize(
    "option",
    [
        "key=hunter2",
        "secret=hunter2",
        "token=hunter2",
        "client_kwargs.aws_secret_access_key=hunter2",
        "PassWord=hunter2",
    ]
    + ["endpoint_url=https://me:hunter2@host", "session_token", "hf_token=hunter2", "sas=hunter2"],
)
def test_a_secret_on_the_command_line_is_refused_with_the_step_to_take(option, capsys):
    for flags in ([], ["--json"], ["--debug"]):
        assert main(["inspect", "s3://b/k", "--storage-option", option, *flags]) == 2
        said = "".join(capsys.readouterr())
        assert "set it in the environment" in said
        assert "hunter2" not in said


def test_the_environment_is_a_step_that_works(elsewhere):
    url, endpoint = elsewhere
    code = "import sys; from ckpt_core.cli.main import main; sys.exit(main(sys.argv[1:]))"
    env = {**os.environ, "FSSPEC_S3_SECRET": os.environ["AWS_SECRET_ACCESS_KEY"], "AWS_SECRET_ACCESS_KEY": "wrong"}
    env["FSSPEC_S3_KEY"] = os.environ["AWS_ACCESS_KEY_ID"]
    ran = subprocess.run(
        [sys.executable, "-c", code, "inspect", url, "--storage-option", f"endpoint_url={endpoint}"], env=env
    )
    assert ran.returncode == 0


def test_values_are_json_or_text_and_dots_go_down(monkeypatch):
    import click

    from ckpt_core.cli.options.storage import note

    context = click.Context(click.Command("x"))
    with context:
        note(
            context,
            None,
            ("anon=true", "client_kwargs.region_name=eu-west-1", "client_kwargs.n=3", "x=true west"),
        )
        assert given_options() == {
            "anon": True,
            "client_kwargs": {"region_name": "eu-west-1", "n": 3},
            "x": "true west",
        }
    assert given_options() == {}


@pytest.mark.parametrize("option", ["endpoint_url", "=x", "a.=x", ".=x"])
def test_what_is_not_an_option_is_a_usage_error(option, capsys):
    assert main(["inspect", "s3://b/k", "--storage-option", option]) == 2
    assert "NAME=VALUE" in capsys.readouterr().err


def test_an_option_that_the_client_does_not_take_is_named_and_its_value_is_not(s3, capsys):
    with pytest.raises(UsageError, match="does not take these storage options \\(no_such\\)") as caught:
        ckpt_core.inspect(f"{s3.url}/x", storage_options={"no_such": "hunter2"})
    assert "hunter2" not in f"{caught.value!r} {vars(caught.value)}"
    with pytest.raises(UsageError) as caught:
        ckpt_core.inspect(f"{s3.url}/x", storage_options="secret=hunter2")
    assert "hunter2" not in str(caught.value)


def test_options_hold_in_workers_too():
    from ckpt_core.storage.workers import run

    with storage_options({"anon": True}):
        assert run(lambda share: given_options(), [[1], [2]]) == [{"anon": True}] * 2
    assert json.dumps(given_options()) == "{}"
