import os

import pytest

from ckpt_core.errors import UnsafeContentError, UsageError
from ckpt_core.schema.locations import LocationKind
from ckpt_core.storage import urls
from ckpt_core.storage.listing import list_files, probe
from ckpt_core.storage.urls import local_path, scheme_of


@pytest.mark.parametrize("ref", ["x", "/a/b", "a:b", "C:/x", "runs/x::y", "s3:/one-slash", "1http://x"])
def test_a_path_has_no_scheme(ref):
    assert scheme_of(ref) is None
    assert local_path(ref) == ref


@pytest.mark.parametrize(("ref", "scheme"), [("S3://b/k", "s3"), ("https://h/x", "https"), ("file:///x", "file")])
def test_a_scheme_is_lower_case(ref, scheme):
    assert scheme_of(ref) == scheme


def test_a_tilde_is_the_home_folder():
    assert local_path("~/x") == os.path.expanduser("~/x")


@pytest.mark.parametrize("ref", ["a\nb", "x\0", "\x1b[31m", "file:///a%00b", "file:///a%0Ab"])
def test_a_control_character_is_a_usage_error_that_repeats_none(ref):
    with pytest.raises(UsageError) as caught:
        local_path(ref)
    assert caught.value.exit_code == 2
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["plain", "with space", "ünïcode", "per%cent", "q?x"])
def test_a_file_url_is_the_path_it_spells(tmp_path, name):
    from urllib.parse import quote

    (tmp_path / name).write_bytes(b"x")
    for host in ("", "localhost"):
        files = list_files(f"file://{host}{quote(str(tmp_path / name))}")
        assert files.read(name) == b"x"


def test_a_file_url_may_spell_bytes_that_are_not_utf8(tmp_path):
    with open(os.path.join(os.fsencode(tmp_path), b"\xff"), "wb") as file:
        file.write(b"x")
    assert list_files(f"file://{tmp_path}/%FF").read("\udcff") == b"x"


@pytest.mark.parametrize("url", ["file://other/x", "file://[x", "file://me:hunter2@other/x"])
def test_a_file_url_of_another_host_is_a_usage_error(url):
    with pytest.raises(UsageError) as caught:
        local_path(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("ref", ["a::s3://b", "s3://b::x", "https://[::1]/x"])
def test_a_chain_is_unsafe(ref):
    with pytest.raises(UnsafeContentError, match="chained"):
        scheme_of(ref)


@pytest.mark.parametrize("url", ["openbayes://home/out/x.pth", "OpenBayes:///home/out/x.pth"])
def test_the_scheme_of_a_mount_is_its_folder(url, tmp_path, monkeypatch):
    assert local_path(url) == "/openbayes/home/out/x.pth"
    monkeypatch.setitem(urls.MOUNTS, "openbayes", str(tmp_path))
    assert probe(url) is None
    (tmp_path / "home" / "out").mkdir(parents=True)
    (tmp_path / "home" / "out" / "x.pth").write_bytes(b"here")
    assert probe(url) is LocationKind.FILE
    assert list_files(url).read("x.pth") == b"here"


@pytest.mark.parametrize("scheme", ["s3", "gs", "gcs"])
@pytest.mark.parametrize("bucket", ["me:hunter2@bucket", "hunter2@bucket", "me:hunter2", "me:hun/ter2@bucket"])
def test_a_user_or_password_in_place_of_a_bucket_is_refused_before_a_client_is_imported(scheme, bucket):
    with pytest.raises(UsageError, match="nothing has such a name there; credentials come") as caught:
        scheme_of(f"{scheme}://{bucket}/key")
    assert "hun" not in str(caught.value)


@pytest.mark.parametrize("ref", ["s3://b/me:pw@key", "s3://arn:aws:s3:us-east-1:1:accesspoint/n/k", "hf://gpt2@main/x"])
def test_a_key_a_revision_and_an_access_point_may_have_those_signs(ref):
    assert scheme_of(ref) == ref.partition(":")[0]
