"""Keys before the server starts: made for this machine alone, wanted from the owner elsewhere."""

from pathlib import Path

import pytest

from runner.commands import chat
from runner.commands.options import ChatOptions, ServeOptions
from runner.commands.serve import configured, is_loopback
from runner.config import ANY, Config, KeySettings, ModelSettings, ServerSettings
from runner.errors import ConfigError, RequestError
from runner.kept_key import kept_key, make_key, new_key
from runner.models.directory import Directory
from runner.server.accounts import Account, Accounts

EMBEDDED = ModelSettings(kind="embedded")
OUTSIDE = ("0.0.0.0", "::", "192.168.1.7", "8.8.8.8", "myhost", "")


def config(host="127.0.0.1", **changes) -> Config:
    return Config(server=ServerSettings(host=host), **changes)


@pytest.mark.parametrize("host", OUTSIDE)
def test_an_address_that_others_reach_is_refused_without_keys(host):
    assert not is_loopback(host)
    with pytest.raises(ConfigError, match="can be reached from outside, and there are no keys"):
        configured(config(), ServeOptions(host=host))
    with pytest.raises(ConfigError):
        configured(config(host, keys=(KeySettings(key_env="NOT_SET"),)), ServeOptions())


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ([{"key_env": "NOPE"}], "keys[0].key_env: NOPE is not set in the environment"),
        ([{"key": "sk-own"}, {"key_env": "NOPE"}], "keys[1].key_env: NOPE is not set"),
        ([{"tenant": "t"}], "keys[0]: has no key"),
    ],
)
def test_a_key_that_is_named_and_not_there_is_no_key_less(keys, said, tmp_path, monkeypatch):
    settings = Config(
        server=ServerSettings(data_dir=f"{tmp_path}"), keys=[KeySettings(**key) for key in keys]
    )
    with pytest.raises(ConfigError) as error:
        configured(settings, ServeOptions())
    assert said in str(error.value)
    assert not (tmp_path / "key").exists()
    monkeypatch.setenv("NOPE", "sk-there")
    if "key_env" in keys[-1]:
        assert configured(settings, ServeOptions()).keys[-1].secret == "sk-there"


def test_the_key_of_an_endpoint_that_is_named_and_not_there_is_told_at_the_start(monkeypatch):
    settings = {"m": ModelSettings(url="http://127.0.0.1:9/v1", key_env="NOPE")}
    with pytest.raises(ConfigError, match=r"models\.m\.key_env: NOPE is not set"):
        Directory(settings)
    monkeypatch.setenv("NOPE", "sk-there")
    assert Directory(settings).names == ("m",)


def test_a_model_that_no_config_names_is_not_answered_by_the_small_one(monkeypatch):
    monkeypatch.setattr(chat, "or_embedded", lambda _: {ANY: EMBEDDED, "small": EMBEDDED})
    with pytest.raises(ConfigError, match=r"--model nosuch: no config names a model, and small"):
        chat.OpenedChat(ChatOptions("", model="nosuch"), None)
    assert not chat.OpenedChat(ChatOptions("", model="small"), None).has_no_model


@pytest.mark.parametrize("host", OUTSIDE)
def test_with_a_key_of_the_owners_any_address_may_be_listened_on(host, capsys):
    found = configured(config(host, keys=(KeySettings(key="sk-own"),)), ServeOptions())
    assert [key.secret for key in found.keys] == ["sk-own"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_on_this_machine_alone_a_key_is_made_kept_and_printed(host, capsys, tmp_path):
    settings = Config(server=ServerSettings(data_dir=f"{tmp_path}/data"))
    first, second = (configured(settings, ServeOptions(host=host)).keys[0].secret for _ in range(2))
    assert first == second == (tmp_path / "data" / "key").read_text().strip()
    assert capsys.readouterr().err.splitlines() == [
        f"API key, made now and kept (cellblock key shows it): {first}",
        f"API key, kept from an earlier start (cellblock key shows it): {first}",
    ]


def test_a_kept_key_is_readable_by_its_user_alone_and_can_be_replaced(tmp_path):
    key, is_new = kept_key(tmp_path / "a")
    file = tmp_path / "a" / "key"
    assert (is_new, file.stat().st_mode & 0o777) == (True, 0o600)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
    other = new_key(tmp_path / "a")
    assert other != key
    assert kept_key(tmp_path / "a") == (other, False)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["key"]


def test_a_key_that_others_could_read_or_that_is_none_is_not_used(tmp_path):
    new_key(tmp_path)
    file = tmp_path / "key"
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="can be read or changed by others"):
        kept_key(tmp_path)
    for text in ("", "short", "two words " * 4):
        file.chmod(0o600)
        file.write_text(text)
        with pytest.raises(ConfigError, match="holds no key"):
            kept_key(tmp_path)
    file.unlink()
    file.symlink_to("/etc/hostname")
    with pytest.raises(ConfigError, match="a new key is made"):
        kept_key(tmp_path)
    with pytest.raises(ConfigError, match="no key can be kept"):
        kept_key(Path("/proc/none"))


def test_flags_win_over_the_file():
    owned = config(keys=(KeySettings(key="sk-own"),))
    found = configured(owned, ServeOptions(host="::1", port=9)).server
    assert (found.host, found.port) == ("::1", 9)


# ---- accounts -----------------------------------------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_each_key_has_its_owner_and_its_own_allowance():
    accounts = Accounts(
        (
            KeySettings(key="sk-a", tenant="one", requests_per_minute=1),
            KeySettings(key="sk-b", tenant="one"),
            KeySettings(key="sk-c", tenant="two"),
        )
    )
    owners = [accounts.find(f"Bearer {key}").owner for key in ("sk-a", "sk-b", "sk-c")]
    assert owners == ["one", "one", "two"]
    accounts.find("Bearer sk-a").charge()
    with pytest.raises(RequestError, match="1 requests a minute"):
        accounts.find("Bearer sk-a").charge()
    accounts.find("Bearer sk-b").charge()


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("", "No API key was provided. Send it as `Authorization: Bearer KEY`: `cellblock key`"),
        ("sk-a", "No API key was provided"),
        ("Bearer", "No API key was provided"),
        ("bearer\x00", "No API key was provided"),
        ("Bearer sk-", "Incorrect API key provided."),
        ("Bearer sk-aa", "Incorrect API key provided."),
    ],
)
def test_no_other_text_is_a_key(header, said):
    with pytest.raises(RequestError, match=said):
        Accounts((KeySettings(key="sk-a"), KeySettings(key=""))).find(header)


def test_a_rate_fills_evenly_and_says_when_to_come_again():
    clock = Clock()
    account = Account(KeySettings(key="x", requests_per_minute=60), clock=clock)
    for _ in range(60):
        account.charge()
    assert account.headers() == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "60.000s",
    }
    with pytest.raises(RequestError) as caught:
        account.charge()
    assert caught.value.retry_after_s == pytest.approx(1.0)
    clock.now = 1.0
    account.charge()


def test_open_requests_are_counted_and_given_back_whatever_happens():
    account = Account(KeySettings(key="x", concurrent_requests=1))

    def second() -> None:
        with account.request():
            pass

    def broken() -> None:
        with account.request():
            with pytest.raises(RequestError, match="1 requests open"):
                second()
            raise ValueError("oops")

    with pytest.raises(ValueError, match="oops"):
        broken()
    second()


def test_made_keys_are_long_and_differ():
    keys = {make_key() for _ in range(50)}
    assert len(keys) == 50
    assert all(key.startswith("sk-") and len(key) >= 35 for key in keys)


def test_a_server_without_a_model_says_so_and_how_to_give_it_one():
    with pytest.raises(RequestError, match="This server has no model: it runs code alone") as seen:
        Directory({}).find("qwen")
    assert seen.value.fault == "model_unknown"
    other = Directory({"one": ModelSettings(kind="openai", url="http://127.0.0.1:1")})
    with pytest.raises(RequestError, match=r"^The model `qwen` does not exist\.$"):
        other.find("qwen")
