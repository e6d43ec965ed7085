"""The loader: five states, one bad plugin never hurts another, names resolve or explain."""

from __future__ import annotations

import pytest

from benchgen.errors import PluginError, SuiteError, UnknownIdError, UsageError
from benchgen.host.loader import Plugin, host, with_defaults
from tests.conftest import InstallPlugin

GOOD = """
    from benchgen import GeneratorSpec, hookimpl

    @hookimpl
    def benchgen_generators():
        return [GeneratorSpec(
            name="dots", factory="nowhere:load", resolution=(8, 8),
            parameters={"size": {"type": "integer", "minimum": 1, "default": 3}},
        )]
"""


def plugin(name: str) -> Plugin:
    return next(p for p in host().plugins if p.name == name)


def test_bundled_plugins_are_active() -> None:
    assert plugin("benchgen/benchgen").state == "active"
    assert plugin("benchgen/reference_models").state == "active"
    assert {r.id for r in host().all("generator")} >= {
        "benchgen/noise",
        "benchgen/mnist-vae",
        "benchgen/mnist-gan",
    }


def test_a_third_party_plugin_is_found_by_id_and_by_bare_name(
    install_plugin: InstallPlugin,
) -> None:
    install_plugin("acme-dots", GOOD)
    assert plugin("acme-dots/plugin").state == "active"
    assert host().find("generator", "acme-dots/dots").id == "acme-dots/dots"
    assert host().find("generator", "dots").distribution_version == "1.0"


def test_an_ambiguous_bare_name_names_both(install_plugin: InstallPlugin) -> None:
    install_plugin("acme", GOOD)
    install_plugin("other", GOOD)
    with pytest.raises(UsageError, match="acme/dots or other/dots"):
        host().find("generator", "dots")
    assert host().find("generator", "other/dots").distribution == "other"


@pytest.mark.parametrize("name", ["acme", "acme/plugin"])
def test_blocked(install_plugin: InstallPlugin, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    install_plugin("acme", GOOD)
    monkeypatch.setenv("BENCHGEN_DISABLE_PLUGINS", f"nobody, {name}")
    host.cache_clear()
    assert plugin("acme/plugin").state == "blocked"
    with pytest.raises(PluginError, match=r"acme/plugin is blocked .*BENCHGEN_DISABLE_PLUGINS"):
        host().find("generator", "acme/dots")


def test_star_blocks_every_third_party_and_no_other(
    install_plugin: InstallPlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_plugin("acme", GOOD)
    monkeypatch.setenv("BENCHGEN_DISABLE_PLUGINS", "*")
    host.cache_clear()
    assert plugin("acme/plugin").state == "blocked"
    assert plugin("benchgen/benchgen").state == "active"


BROKEN = {
    "import": ("import no_such_module_at_all", "No module named 'no_such_module_at_all'"),
    "hook raises": (
        "from benchgen import hookimpl\n"
        "@hookimpl\n"
        "def benchgen_generators():\n"
        "    raise RuntimeError('no GPU here')",
        "no GPU here",
    ),
    "misspelt hook": (
        "from benchgen import hookimpl\n@hookimpl\ndef benchgen_generator():\n    return []",
        "there is no hook benchgen_generator; did you mean benchgen_generators?",
    ),
    "unmarked hook": (
        "def benchgen_metrics():\n    return []",
        "benchgen_metrics lacks the mark @benchgen.hookimpl",
    ),
    "wrong spec": (
        "from benchgen import hookimpl, MeasureSpec\n"
        "@hookimpl\n"
        "def benchgen_generators():\n"
        "    return [MeasureSpec(name='m', factory='a:b')]",
        "benchgen_generators returned MeasureSpec; expected GeneratorSpec or TrainerSpec",
    ),
    "bad factory": (
        "from benchgen import hookimpl, MeasureSpec\n"
        "@hookimpl\n"
        "def benchgen_measures():\n"
        "    return [MeasureSpec(name='m', factory='not a factory')]",
        "factory is 'not a factory'; expected 'pkg.module:callable'",
    ),
    "bad name": (
        "from benchgen import hookimpl, MeasureSpec\n"
        "@hookimpl\n"
        "def benchgen_measures():\n"
        "    return [MeasureSpec(name='My Measure', factory='a:b')]",
        "name is 'My Measure'",
    ),
    "twice": (
        "from benchgen import hookimpl, MeasureSpec\n"
        "@hookimpl\n"
        "def benchgen_measures():\n"
        "    return [MeasureSpec(name='m', factory='a:b')] * 2",
        "registers 'm' twice",
    ),
    "unknown argument": (
        "from benchgen import hookimpl\n@hookimpl\ndef benchgen_metrics(config):\n    return []",
        "config",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_says_why_and_hurts_nobody(install_plugin: InstallPlugin, case: str) -> None:
    code, reason = BROKEN[case]
    install_plugin("bad", code)
    install_plugin("acme", GOOD)
    assert plugin("bad/plugin").state == "broken"
    assert reason in plugin("bad/plugin").reason
    assert plugin("acme/plugin").state == "active"
    assert host().find("metric", "fid").id == "benchgen/fid"


def test_incompatible(install_plugin: InstallPlugin) -> None:
    install_plugin("acme", GOOD, requires="benchgen>=99")
    assert plugin("acme/plugin").state == "incompatible"
    assert "requires benchgen>=99" in plugin("acme/plugin").reason
    with pytest.raises(PluginError, match="incompatible"):
        host().find("generator", "acme/dots")


def test_a_second_distribution_of_one_name_is_shadowed_not_skipped(
    install_plugin: InstallPlugin,
) -> None:
    install_plugin("acme", GOOD, version="1.0", where="old")
    install_plugin("acme", GOOD, version="2.0", where="new")
    found = [p for p in host().plugins if p.distribution == "acme"]
    assert [(p.version, p.state) for p in found] == [("2.0", "active"), ("1.0", "shadowed")]
    assert "acme 2.0" in found[1].reason


def test_strict_makes_a_bad_plugin_fatal(
    install_plugin: InstallPlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_plugin("bad", "import no_such_module_at_all")
    monkeypatch.setenv("BENCHGEN_STRICT_PLUGINS", "1")
    host.cache_clear()
    with pytest.raises(PluginError, match="bad/plugin is broken"):
        host()


def test_a_broken_plugin_is_fatal_only_where_it_is_asked_for(
    install_plugin: InstallPlugin,
) -> None:
    install_plugin("bad", "import no_such_module_at_all")
    assert host().find("generator", "mnist-gan").id == "benchgen/mnist-gan"
    with pytest.raises(PluginError, match="no_such_module_at_all"):
        host().find("generator", "bad/thing")


def test_an_unknown_id_offers_the_nearest() -> None:
    with pytest.raises(UnknownIdError, match="did you mean fid") as caught:
        host().find("metric", "fidd")
    assert caught.value.exit_code == 2


def test_parameters_are_checked_and_filled_in(install_plugin: InstallPlugin) -> None:
    install_plugin("acme", GOOD)
    dots = host().find("generator", "dots")
    assert with_defaults(dots, {}, "generators.0") == {"size": 3}
    with pytest.raises(SuiteError, match=r"generators\.0: .*no parameter 'sise'; did you mean 's"):
        with_defaults(dots, {"sise": 3}, "generators.0")
    with pytest.raises(SuiteError, match="parameter 'size' of acme/dots: 0 is less than"):
        with_defaults(dots, {"size": 0}, "generators.0")
