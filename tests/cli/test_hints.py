"""Hints name only what a person can do today: no package that no index has."""

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import ckpt_core
from ckpt_core.storage.remote.filesystems import PACKAGES, missing_package

SOURCES = [Path(ckpt_core.__file__).parent, *Path(__file__).parents[2].glob("plugins/*/src")]


def test_no_message_tells_to_install_what_is_not_released():
    named = re.compile(r"install[^\n]{0,20}ckpt[-_](?:core|fsdp|hf|minillm|wandb)")
    said = {
        f"{path.name}: {found[0]}"
        for root in SOURCES
        for path in root.rglob("*.py")
        if path.parent.name != "testing"
        for found in named.finditer(path.read_text())
    }
    assert not said


@pytest.mark.parametrize("scheme", ["s3", "gs", "hf"])
def test_a_scheme_that_needs_a_package_names_one_that_there_is(scheme):
    message = str(missing_package(scheme, f"{scheme}://user:secret@bucket/x"))
    assert message.endswith(f"run pip install {PACKAGES[scheme]}")
    assert "secret" not in message
    try:
        assert version(PACKAGES[scheme])
    except PackageNotFoundError:
        assert PACKAGES[scheme] == "gcsfs", "the others are among the development tools, so they can be installed"


def test_a_scheme_of_nobody_names_no_package():
    assert "pip install" not in str(missing_package("wandb", "wandb://a/b"))
