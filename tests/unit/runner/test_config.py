"""The config: errors that name table, key and the nearest right one; an example that loads."""

import tomllib

import pytest

from runner.commands.printing.example_config import TABLES, example
from runner.config import Config
from runner.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[server]\nprot = 1", "server.prot: 'prot' is no setting here. Did you mean port?"),
        ("[serve]\nport = 1", "serve: 'serve' is no table here. Did you mean server?"),
        ("[model.a]\nurl = 'x'", "model: 'model' is no table here. Did you mean models?"),
        ("[models.my-model]\nulr = 'x'", "models.my-model.ulr: 'ulr' is no setting here."),
        ('[models."*"]\nkind = "opnai"', "models.\"*\".kind: is 'opnai'"),
        ('[models."*"]\nkind = "opnai"', "Did you mean 'openai'?"),
        ("[[keys]]\n[[keys]]\ntennant = 'x'", "keys[2].tennant: 'tennant' is no setting here."),
        ("[[keys]]\nsesions = 1", "Did you mean sessions?"),
        ("[server]\nport = 'x'", "server.port: is 'x': Input should be a valid integer"),
        ("[server]\nport = 70000", "server.port: is 70000: Input should be less than"),
        ("[server]\nxyzzy = 1", "Known are host, port,"),
        ("server = 3", "server: is 3: "),
        ("[keys]\nkey = 'x'", "keys: is {'key': 'x'}: "),
        ("[server]\nhosts = 'a'", "server.hosts: is 'a': "),
        ("[server]\nhosts = [1]", "server.hosts[1]: is 1: "),
        ("[models]\na = 1", "models.a: is 1: "),
    ],
)
def test_a_wrong_setting_is_named_with_the_nearest_right_one(tmp_path, text, words):
    file = tmp_path / "server.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        Config.read(file)
    assert words in str(caught.value)
    assert "server.toml" in str(caught.value)


def test_the_example_loads_and_sets_nothing_but_its_model(tmp_path):
    file = tmp_path / "example.toml"
    file.write_text(example())
    found = Config.read(file)
    assert found.server == Config().server
    assert (found.search, found.pages, found.keys) == (Config().search, Config().pages, ())
    assert found.sandbox_policy() == Config().sandbox_policy()
    assert list(found.models) == ["my-model"]


def test_the_example_has_every_setting_with_a_word_on_it():
    text = example()
    assert set(tomllib.loads(text)) == {"server", "models", "policy", "audit", "search", "pages"}
    for heading, settings, *_ in TABLES:
        assert heading in text
        for name in settings.model_fields:
            assert f"{name} = " in text or f"[policy.{name}]" in text, (heading, name)


def test_what_the_example_leaves_as_a_comment_is_also_right(tmp_path):
    lines = [line.removeprefix("# ") for line in example().splitlines()]
    settings = [
        line for line in lines
        if line.startswith("[") or (" = " in line and line.split(" = ")[0].isidentifier())
    ]  # fmt: skip
    file = tmp_path / "all.toml"
    file.write_text("\n".join(line for line in settings if "(not set)" not in line))
    found = Config.read(file)
    assert found.keys[0].key_env == "MY_SERVER_KEY"
    assert found.sandbox_policy() == Config().sandbox_policy()
