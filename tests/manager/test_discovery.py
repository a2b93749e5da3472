import os
import subprocess
import sys

import pytest

from ckpt_core.manager.discovery import EntryPoint, find_entry_points, unmet_requirement


def names(path):
    return [(point.name, point.distribution, point.version) for point in find_entry_points(path)]


def test_entry_points_are_found_by_name_in_every_folder_of_the_path(install, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    site = install("b", "", entry="plugin_b.sub : holder.inner [extra]")
    install("a", "", folder=other)
    (site / "quiet-1.0.dist-info").mkdir()
    (site / "other-1.0.dist-info").mkdir()
    (site / "other-1.0.dist-info" / "entry_points.txt").write_text("[console_scripts]\nx = y\n")
    found = find_entry_points([str(site), str(tmp_path / "missing"), str(other)])
    assert [(point.name, point.module, point.attribute) for point in found] == [
        ("a", "plugin_a", ""),
        ("b", "plugin_b.sub", "holder.inner"),
    ]


def test_other_sections_and_comments_are_passed_over(install):
    site = install("a", "")
    (site / "dist_a-1.0.dist-info" / "entry_points.txt").write_text(
        "[console_scripts]\nckpt = x:main\n\n[ckpt_core.plugins]\n# old = gone\n\n a = plugin_a \n[another]\nz = z\n"
    )
    assert names([str(site)]) == [("a", "dist-a", "1.0")]


def test_of_a_distribution_that_is_there_twice_the_first_counts(install, tmp_path):
    late = tmp_path / "late"
    late.mkdir()
    site = install("a", "", version="2.0")
    install("a", "", version="1.0", folder=late)
    (late / "dist_a-1.0.dist-info").rename(late / "Dist.A-1.0.dist-info")
    assert names([str(site), str(late), str(site)]) == [("a", "dist-a", "2.0")]


def test_what_an_interrupted_installer_left_is_passed_over(install):
    site = install("a", "")
    (site / "dist_a-1.0.dist-info").rename(site / "~ist_a-1.0.dist-info")
    assert names([str(site)]) == []


def test_the_current_folder_is_never_searched(install, monkeypatch):
    site = install("a", "")
    assert names([str(site)]) != []
    monkeypatch.chdir(site)
    for spelling in ("", ".", str(site), f"{site}/", os.path.join(str(site), "..", site.name)):
        assert names([spelling]) == []


@pytest.mark.parametrize(
    ("requirement", "unmet"),
    [
        ("ckpt-core", None),
        ("ckpt-core>=0.1,<0.2", None),
        ("ckpt_core (>=0.1)", None),
        ("CKPT.Core[torch]>=99", ">=99"),
        ("ckpt-core<0.2,>=0.1.2", ">=0.1.2"),
        ("ckpt-core ~=0.1.0", None),
        ("ckpt-core~=0.2", "~=0.2"),
        ("ckpt-core==0.1.*", None),
        ("ckpt-core==0.*", None),
        ("ckpt-core==0.2.*", "==0.2.*"),
        ("ckpt-core!=0.1.1", "!=0.1.1"),
        ("ckpt-core<0.1.1", "<0.1.1"),
        ("ckpt-core<=0.1.1,>0.1", None),
        ("ckpt-core>=99; extra == 'dev'", None),
        ("ckpt-core>=99; python_version >= '3'", ">=99"),
        ("ckpt-core-extras>=99", None),
        ("other>=99", None),
        ("ckpt-core>=0.1.1rc1", None),
        ("ckpt-core>=0.1.2rc1", ">=0.1.2rc1"),
        ("ckpt-core===0.1.1", None),
        ("ckpt-core==0.1.1.post1", "==0.1.1.post1"),
        ("ckpt-core>=1!0.1", ">=1!0.1"),
        ("ckpt-core>=99; python_version < '3'", None),
        ("ckpt-core>=banana", " by a requirement that cannot be read (ckpt-core>=banana)"),
    ],
)
def test_requirements_on_core_are_read_as_installers_write_them(install, requirement, unmet):
    site = install("a", "", requires=["numpy>=99", requirement])
    (point,) = find_entry_points([str(site)])
    assert unmet_requirement(point, "0.1.1") == unmet


def test_what_most_plugins_ask_is_met_without_importing_packaging(install):
    install("a", "", requires=["ckpt-core<0.2,>=0.1"])
    site = install("b", "", requires=["ckpt-core>=0.1,<0.2"])
    code = f"""
import sys
from ckpt_core.manager.discovery import find_entry_points, unmet_requirement
points = find_entry_points([{str(site)!r}])
print([unmet_requirement(point, "0.1.0") for point in points], "packaging" in sys.modules)
print([unmet_requirement(point, "0.2.0") for point in points], "packaging" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout.split("\n")[:2] == ["[None, None] False", "['<0.2', '<0.2'] True"], ran.stderr


def test_without_metadata_nothing_is_required(tmp_path):
    assert unmet_requirement(EntryPoint("a", "m", "", "d", "1", str(tmp_path)), "0.1") is None


def test_discovery_imports_nothing_heavy():
    code = """
import sys
from ckpt_core import get_plugin_manager
get_plugin_manager()
heavy = {"torch", "numpy", "fsspec", "aiohttp", "transformers", "importlib.metadata", "huggingface_hub", "rich"}
print(sorted(heavy & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout.strip() == "[]", ran.stderr
