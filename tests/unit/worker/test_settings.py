"""Settings: flags over environment over defaults; all errors at once; no secrets shown."""

import re
from pathlib import Path
from urllib.parse import quote

import pytest
from pydantic import SecretStr

from decisions.settings import PREFIX, table, unknown_variables
from edge.settings import ELSEWHERE, EdgeSettings
from featurestore.errors import SettingsError
from featurestore.store.redis.connection import check_url, connect
from worker.settings import Settings


def test_flags_win_over_the_environment_and_it_over_defaults() -> None:
    environ = {f"{PREFIX}TOPIC": "from-env", f"{PREFIX}GROUP": "from-env"}
    settings = Settings.load({"topic": "from-flag", "group": None}, environ)
    assert (settings.topic, settings.group, settings.env) == ("from-flag", "from-env", "prod")


def test_the_defaults_work_on_localhost() -> None:
    settings = Settings.load({}, {})
    assert settings.kafka_client() == {"bootstrap.servers": "localhost:9092"}
    assert settings.redis.get_secret_value() == "redis://localhost:6379/0"


def test_every_default_can_be_written_in_the_environment() -> None:
    """The environment and flags are text: a setting that takes its default only as a number cannot be set at all."""
    defaults = Settings()
    told = {
        f"{PREFIX}{name.upper()}": str(value)
        for name, value in defaults
        if value is not None and not isinstance(value, SecretStr)
    }
    assert Settings.load({}, told) == defaults
    assert Settings.load({"write_version": "1"}, {}).write_version == 1


def test_everything_that_is_wrong_is_reported_at_once() -> None:
    wrong = {"batch_max": "many", "timers": "sometimes", "redis": "http://x", "dlq_max_share": "2"}
    with pytest.raises(SettingsError) as caught:
        Settings.load(wrong, {})
    text = str(caught.value)
    for name in wrong:
        assert f"{PREFIX}{name.upper()} (--{name.replace('_', '-')})" in text


def test_passwords_are_never_shown() -> None:
    secret = "5e" * 32
    settings = Settings.load({"redis": f"redis://:{secret}@h/0", "kafka_password": secret, "id_key": secret}, {})
    assert secret not in repr(settings)
    assert secret not in str(settings.model_dump())
    with pytest.raises(SettingsError) as caught:
        Settings.load({"redis": f"http://:{secret}@h/0"}, {})
    assert secret not in str(caught.value)


def test_kafka_settings_are_passed_on_and_a_password_among_them_is_refused() -> None:
    settings = Settings.load(
        {"kafka_config": "security.protocol=SASL_SSL, sasl.username=me", "kafka_password": "p"}, {}
    )
    assert settings.kafka_client() == {
        "bootstrap.servers": "localhost:9092",
        "security.protocol": "SASL_SSL",
        "sasl.username": "me",
        "sasl.password": "p",
    }
    for wrong in ("sasl.password=x", "no-pair"):
        with pytest.raises(SettingsError):
            Settings.load({"kafka_config": wrong}, {})


AWKWARD = ("/", "#", "?", "@", ":", "%", "[", "]", " ", "\\", ",", "=", '"', "ü")


def _told(values: dict[str, str]) -> str:
    """All that settings say of themselves: what is wrong with them, or what they are."""
    try:
        settings = Settings.load(values, {})
    except SettingsError as error:
        return str(error)
    return repr(settings) + settings.model_dump_json()


@pytest.mark.parametrize("scheme", ["redis", "rediss", "sentinel", "cluster", "clusters", "http"])
@pytest.mark.parametrize("character", AWKWARD)
def test_no_password_of_redis_is_ever_shown_whatever_its_characters(scheme: str, character: str) -> None:
    url = f"{scheme}://:s3c{character}r3t@host:6379" + ("/service" if scheme == "sentinel" else "")
    told = _told({"redis": url})
    assert "s3c" not in told
    assert "r3t" not in told


@pytest.mark.parametrize("character", AWKWARD)
@pytest.mark.parametrize("setting", ["kafka_password", "kafka_config", "id_key"])
def test_no_other_secret_is_ever_shown_whatever_its_characters(setting: str, character: str) -> None:
    secret = f"s3c{character}r3t"
    told = _told({setting: f"ssl.key.password={secret}" if setting == "kafka_config" else secret})
    assert "s3c" not in told
    assert "r3t" not in told


@pytest.mark.parametrize("character", AWKWARD)
def test_a_url_that_is_accepted_makes_a_client_of_its_host(character: str) -> None:
    """What the check lets through must not fail where the client is made: that error would show the password."""
    url = f"redis://:s3c{quote(character, safe='')}r3t@host:6379/0"
    check_url(url)
    kept = connect(url, timeout_s=1.0).connection_pool.connection_kwargs
    assert (kept["host"], kept["password"]) == ("host", f"s3c{character}r3t")


def test_the_password_can_come_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("p,w=d\n")
    assert Settings.load({"kafka_password_file": str(secret)}, {}).kafka_client()["sasl.password"] == "p,w=d"
    with pytest.raises(SettingsError, match="mount the secret"):
        Settings.load({"kafka_password_file": str(tmp_path / "missing")}, {})


def test_a_misspelt_variable_is_noticed() -> None:
    assert unknown_variables({"CLICKSTAGE_BATCHMAX": "1", "CLICKSTAGE_TOPIC": "t", "PATH": "x"}, Settings) == [
        "CLICKSTAGE_BATCHMAX is not a setting: did you mean CLICKSTAGE_BATCH_MAX?"
    ]
    assert unknown_variables({"CLICKSTAGE_EDGE_PROT": "1", "CLICKSTAGE_REDIS_URL": "r"}, EdgeSettings, ELSEWHERE) == [
        "CLICKSTAGE_EDGE_PROT is not a setting: did you mean CLICKSTAGE_EDGE_PORT?",
        "CLICKSTAGE_REDIS_URL is not a setting: did you mean CLICKSTAGE_REDIS?",
    ]


def test_what_another_process_or_a_test_reads_is_no_misspelling() -> None:
    """One environment file serves worker and edge, and CI sets variables of its own."""
    root = Path(__file__).parents[3]
    files = [*root.glob("tests/**/*.py"), *root.glob("bench/*.py"), root / ".ci" / "run", root / "Makefile"]
    names = {name for f in files for name in re.findall(rf"{PREFIX}[A-Z_]*[A-Z]\b", f.read_text())}
    names |= {PREFIX + name.upper() for s in (Settings, EdgeSettings) for name in s.model_fields}
    names -= {"CLICKSTAGE_BATCHMAX", "CLICKSTAGE_REDIS_URL", "CLICKSTAGE_EDGE_PROT"}  # the misspellings of these tests
    environ = dict.fromkeys(names, "")
    assert not unknown_variables(environ, Settings)
    assert not unknown_variables(environ, EdgeSettings, ELSEWHERE)


def test_the_table_has_a_row_a_setting_and_no_default_secret() -> None:
    rows = table(Settings).splitlines()
    assert len(rows) == 2 + len(Settings.model_fields)
    assert all(row.count("|") == 5 for row in rows)


def test_a_setting_cannot_be_changed() -> None:
    settings = Settings.load({}, {})
    with pytest.raises(ValueError, match="frozen"):
        settings.topic = "other"  # type: ignore[misc] # that is the point


def test_a_cluster_is_an_address_of_redis_and_a_wrong_one_keeps_its_password() -> None:
    settings = Settings.load({"redis": "cluster://:s3cret@one:7000,two", "buckets": "32"}, {})
    assert settings.buckets == 32
    with pytest.raises(SettingsError, match="has no databases") as caught:
        Settings.load({"redis": "cluster://:s3cret@one:7000/1"}, {})
    assert "s3cret" not in str(caught.value)


def test_values_of_kafka_config_may_hold_commas_and_equal_signs() -> None:
    text = "security.protocol=SSL, ssl.cipher.suites=A,B,client.id=a=b,"
    assert Settings(kafka_config=SecretStr(text)).kafka_client() == {
        "bootstrap.servers": "localhost:9092",
        "security.protocol": "SSL",
        "ssl.cipher.suites": "A,B",
        "client.id": "a=b",
    }


@pytest.mark.parametrize(
    ("name", "setting"), [("sasl.password", "kafka_password"), ("ssl.key.password", "kafka_key_password")]
)
def test_each_kafka_password_has_a_setting_that_is_kept_out_of_logs(name: str, setting: str) -> None:
    with pytest.raises(SettingsError, match=setting) as refused:
        Settings.load({"kafka_config": f"{name}=S3CRET"}, {})
    assert "S3CRET" not in str(refused.value)
    settings = Settings.load({setting: "S3CRET"}, {})
    assert settings.kafka_client()[name] == "S3CRET"
    assert "S3CRET" not in repr(settings)


@pytest.mark.parametrize("prefix", ["cs:", "decision", "a:b:", "{tag}:", "", ":", "rehearsal: "])
def test_a_decision_prefix_is_one_word_and_a_colon(prefix: str) -> None:
    """So no prefix is the beginning of another one's keys, nor puts all decisions into one slot of a Cluster."""
    assert Settings.load({"decision_prefix": "rehearsal:"}, {}).decision_prefix == "rehearsal:"
    with pytest.raises(SettingsError, match="DECISION_PREFIX"):
        Settings.load({"decision_prefix": prefix}, {})


@pytest.mark.parametrize(("stuck_s", "session_s"), [(60, 30), (24, 6), (10, 45), (600, 30)])
def test_a_new_client_has_the_time_that_the_group_keeps_the_old_one(stuck_s: float, session_s: int) -> None:
    """Replaced no sooner than the group would notice, and given up no sooner than it can have partitions."""
    settings = Settings(stuck_after_s=stuck_s, session_timeout_s=session_s)
    assert settings.renew_after_s >= max(stuck_s / 2, session_s)
    assert settings.leave_after_s - settings.renew_after_s > session_s
    assert settings.leave_after_s >= stuck_s
