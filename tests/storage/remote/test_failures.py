"""Each thing that is wrong with a store is one clear line that tells it from the others, and shows no secret."""

import itertools
import logging
import os
import socket
import subprocess
import sys

import pytest

from ckpt_core.cli.app import COMMANDS
from ckpt_core.cli.main import main
from tests.servers import faults
from tests.servers.fault_proxy import fault_proxy


def refusing(status, code="", *, region="", kind="application/xml"):
    """An answer as a store gives it to what it refuses, to every request."""
    told = f"<Region>{region}</Region>" if region else ""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message>{told}</Error>" if code else ""
    headers = {"Content_Type": kind, **({"x-amz-bucket-region": region} if region else {})}
    return lambda exchange: exchange.reply(status, body.encode(), **headers)


@pytest.fixture
def store(monkeypatch):
    """A server that only refuses, which clients of S3 and of Google Cloud Storage are sent to."""
    with fault_proxy("http://127.0.0.1:9") as proxy:
        values = {
            "AWS_ENDPOINT_URL_S3": proxy.url,
            "AWS_ACCESS_KEY_ID": "PLANTEDID",
            "AWS_SECRET_ACCESS_KEY": "PLANTEDSECRET",
            "AWS_SESSION_TOKEN": "PLANTEDTOKEN",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "STORAGE_EMULATOR_HOST": proxy.url,
            "NO_GCE_CHECK": "true",
            "CKPT_REMOTE_TIMEOUT": "9",
        }
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        forget_clients()
        yield proxy


def forget_clients():
    for module, client in (("s3fs", "S3FileSystem"), ("gcsfs", "GCSFileSystem")):
        if module in sys.modules:
            getattr(sys.modules[module], client).clear_instance_cache()


REFUSALS = [
    ("s3", refusing(403, "InvalidAccessKeyId"), 5, "does not know the access key", "AWS_ACCESS_KEY_ID"),
    ("s3", refusing(403, "SignatureDoesNotMatch"), 5, "secret key does not fit", "AWS_SECRET_ACCESS_KEY"),
    ("s3", refusing(400, "ExpiredToken"), 5, "credentials have expired", "aws sso login"),
    ("s3", refusing(400, "InvalidToken"), 5, "session token is not valid", "AWS_SESSION_TOKEN"),
    ("s3", refusing(403, "RequestTimeTooSkewed"), 5, "clock is more than 15 minutes", "set the clock"),
    ("s3", refusing(403, "AccessDenied"), 5, "access denied to these credentials", "ask its owner"),
    (
        "s3",
        refusing(301, "PermanentRedirect", region="eu-west-1"),
        5,
        "another region",
        "AWS_DEFAULT_REGION to eu-west-1",
    ),
    ("s3", refusing(400, "AuthorizationHeaderMalformed", region="ap-south-1"), 5, "(ap-south-1)", "AWS_DEFAULT_REGION"),
    ("s3", refusing(404, "NoSuchBucket"), 3, "there is no such bucket", "which store is asked"),
    ("s3", refusing(503, "SlowDown"), 5, "overloaded (HTTP 503)", "try again later"),
    ("s3", refusing(200, kind="text/html"), 5, "no S3 server", "AWS_ENDPOINT_URL_S3"),
    ("s3", refusing(404, kind="text/html"), 5, "no S3 server", "AWS_ENDPOINT_URL_S3"),
    ("gs", refusing(401), 5, "no credentials were found", "GOOGLE_APPLICATION_CREDENTIALS"),
    ("gs", refusing(403), 5, "access denied to this account", "ask its owner"),
    ("gs", refusing(404), 3, "there is no such bucket", "which store is asked"),
    ("gs", faults.page, 5, "no server of Google Cloud Storage", "STORAGE_EMULATOR_HOST"),
    ("http", refusing(401), 5, "does not know who asks", "check the credentials"),
    ("http", refusing(403), 5, "access denied", "whether the URL has expired"),
    ("http", refusing(404), 3, "no such file", "check the name"),
    ("http", refusing(500), 5, "failed or is overloaded (HTTP 500)", "try again later"),
]


@pytest.mark.parametrize(("scheme", "answer", "code", "reason", "step"), REFUSALS)
def test_a_refusal_is_told_from_the_others_with_the_step_to_take(store, scheme, answer, code, reason, step, capsys):
    store.rule(answer, last=None)
    url = f"{store.url}/run/x" if scheme == "http" else f"{scheme}://bucket/run"
    assert main(["inspect", url]) == code
    said = capsys.readouterr().err
    assert reason in said and step in said
    assert said.count("\n") == 1 and "Traceback" not in said and "PLANTED" not in said


def test_a_server_that_is_not_there_and_a_name_that_nobody_has(store, monkeypatch, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{free.getsockname()[1]}"
    for endpoint, reason in ((gone, "no server answers"), ("http://no.such.host.invalid", "no machine is known")):
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        forget_clients()
        for url in ("s3://bucket/run", f"{endpoint}/run"):
            assert main(["inspect", url]) == 5
            assert reason in capsys.readouterr().err


def test_what_is_asked_wrongly_is_the_askers_to_mend(store, monkeypatch, capsys):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "nonsense")
    assert main(["inspect", "s3://bucket/run"]) == 2
    assert "check AWS_ENDPOINT_URL_S3" in capsys.readouterr().err
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    forget_clients()
    assert main(["inspect", "s3://bucket/run"]) == 2
    assert "AWS_PROFILE names a profile" in capsys.readouterr().err


def test_no_credentials_are_told_from_wrong_ones(store, monkeypatch, tmp_path, capsys):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["inspect", "s3://bucket/run"]) == 5
    said = capsys.readouterr().err
    assert "no credentials were found" in said and "AWS_ACCESS_KEY_ID" in said
    assert not store.log


def test_a_public_bucket_is_read_without_credentials_as_the_message_says(moto, monkeypatch, tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save

    url = moto.put("m.safetensors", save({"w": torch.ones(4)}))
    moto.filesystem.chmod(url, "public-read")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_A") and "SECRET" not in name}
    kept |= {"HOME": str(tmp_path), "FSSPEC_S3_ANON": "true"}
    code = "import sys; from ckpt_core.cli.main import main; sys.exit(main(sys.argv[1:]))"
    assert subprocess.run([sys.executable, "-c", code, "inspect", url], env=kept).returncode == 0


KINDS = {
    "denied": refusing(403, "AccessDenied"),
    "signature": refusing(403, "SignatureDoesNotMatch"),
    "failed": refusing(500, "InternalError"),
    "missing": refusing(404, "NoSuchKey"),
    "page": faults.page,
    "reset": faults.reset,
    "elsewhere": refusing(301, "PermanentRedirect", region="eu-west-1"),
}
ARGUMENTS = {
    "locate": ["{url}"],
    "inspect": ["{url}"],
    "verify": ["{url}"],
    "diff": ["{url}", "{url}2"],
    "convert": ["{url}", "{out}"],
    "copy": ["{url}", "{out}"],
    "seal": ["{url}"],
    "repair": ["{url}"],
    "clean": ["{url}"],
    "prune": ["{url}"],
    "plan-resume": ["{url}"],
    "resume": ["{url}"],
    "pull": ["{url}"],
    "push": ["{out}", "{url}"],
    "publish": ["{url}", "{url}s"],
    "log": ["{url}"],
    "alias": ["{url}", "best", "v0"],
    "bisect": ["{url}", "--", "true"],
}
QUIET = {"formats", "plugins", "completion", "version", "prove-resume"}
"""Commands that ask no server."""

SECRETS = ("PLANTED", "hunter2", "X-Amz-Signature", "X-Amz-Credential", "Bearer")


TRIED = [
    (verb, kind) if (row + column) % 5 == 0 else pytest.param(verb, kind, marks=pytest.mark.long)
    for row, verb in enumerate(sorted(COMMANDS.keys() - QUIET))
    for column, kind in enumerate(KINDS)
]


@pytest.mark.parametrize(("verb", "kind"), TRIED)
def test_a_planted_secret_is_in_no_output_of_any_command(store, verb, kind, tmp_path, capfd, caplog):
    from fsspec.asyn import get_loop  # its loop speaks of itself at DEBUG

    get_loop()
    caplog.set_level(logging.DEBUG)
    store.rule(KINDS[kind], last=None)
    web = f"{store.url.replace('://', '://me:hunter2@')}/run/m.safetensors?token=PLANTED"
    places = ["s3://bucket/run", "gs://bucket/run", web]
    flags = [["--debug"], ["-v", "--json"], []]
    for place, flag in itertools.islice(zip(places, flags, strict=True), 3):
        arguments = [part.format(url=place, out=tmp_path / "out") for part in ARGUMENTS[verb]]
        main([verb, *flag, *arguments])
    said = "".join(capfd.readouterr()) + caplog.text
    for secret in SECRETS:
        assert secret not in said


def test_every_command_is_among_those_that_are_tried():
    assert COMMANDS.keys() - QUIET <= ARGUMENTS.keys()


def test_what_clients_log_for_others_is_left_as_it_is(caplog):
    from ckpt_core.storage.remote.clients import quiet

    caplog.set_level(logging.DEBUG)
    speaks = logging.getLogger("botocore.endpoint")
    with quiet():
        speaks.debug("signed %s", "https://host/x?X-Amz-Signature=PLANTED")
    assert "PLANTED" not in caplog.text and "not shown" in caplog.text
    speaks.debug("of somebody else")
    assert "of somebody else" in caplog.text
