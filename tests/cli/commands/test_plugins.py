"""`ckpt plugins`: healthy, broken and too new ones, each with its origin."""

import json


def test_each_plugin_is_shown_with_its_health_and_origin(ckpt, plugins):
    done = ckpt("plugins", PYTHONPATH=plugins)
    rows = {line.split()[0]: line for line in done.out.splitlines()}
    assert done.code == 0
    assert "healthy" in rows["toy"]
    assert "ckpt-toy 1.2" in rows["toy"]
    assert "other-toy, toy" in rows["toy"] or "toy, other-toy" in rows["toy"]
    assert "broken" in rows["broken"]
    assert "too new" in rows["later"]
    assert "healthy" in rows["core.safetensors"]


def test_the_reason_stands_below(ckpt, plugins):
    lines = ckpt("plugins", PYTHONPATH=plugins).out.splitlines()
    assert any(line.startswith("broken: ") and "a_module_that_is_not_there" in line for line in lines)
    assert any(line.startswith("later: needs ckpt-core>=99") for line in lines)


def test_quiet_prints_the_names_of_those_that_work(ckpt, plugins):
    names = ckpt("plugins", "-q", PYTHONPATH=plugins).out.split()
    assert "toy" in names
    assert "broken" not in names
    assert "later" not in names


def test_installed_plugins_can_be_left_out(ckpt, plugins):
    assert "toy" not in ckpt("plugins", "-q", PYTHONPATH=plugins, CKPT_PLUGINS="none").out.split()


def test_json_has_one_entry_a_plugin(ckpt, plugins):
    content = json.loads(ckpt("plugins", "--json", PYTHONPATH=plugins).out)
    health = {entry["name"]: entry["health"] for entry in content["result"]["plugins"]}
    assert content["schema"] == "ckpt/plugins@1"
    assert content["ref"] is None
    assert (health["toy"], health["broken"], health["later"]) == ("healthy", "broken", "too new")
