"""What may be said to the Kafka clients beside Clickstage's own settings."""

import pytest

from decisions.kafka_settings import pairs_of, refused_setting, voiding
from featurestore.errors import SettingsError
from worker.settings import Settings


@pytest.mark.parametrize(
    "pair",
    [
        "acks=0",
        "acks=1",
        "request.required.acks=1",
        "enable.idempotence=false",
        "retries=0",
        "message.timeout.ms=5000",
        "max.in.flight=5",
        "partitioner=consistent_random",
        "isolation.level=read_uncommitted",
        "enable.auto.commit=true",
        "auto.offset.reset=latest",
        "transactional.id=x",
        "group.id=other",
        "sasl.password=s3cret",
    ],
)
def test_what_would_void_the_promise_is_refused_by_name(pair: str) -> None:
    """Four decisions were lost under acks=0 before it was refused."""
    name, _, _ = pair.partition("=")
    with pytest.raises(SettingsError, match=name) as caught:
        Settings.load({"kafka_config": f"security.protocol=SASL_SSL,{pair}"}, {})
    assert "CLICKSTAGE_KAFKA_CONFIG" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_every_refused_setting_is_named() -> None:
    assert len(voiding({"acks": "0", "enable.idempotence": "FALSE", "ssl.ca.location": "/ca"})) == 2


def test_what_keeps_the_promise_is_let_through() -> None:
    kept = "acks=all,enable.idempotence=TRUE,security.protocol=SSL,ssl.cipher.suites=A,B,client.rack=r1"
    assert Settings.load({"kafka_config": kept}, {}).kafka_client()["ssl.cipher.suites"] == "A,B"


def test_what_is_no_pair_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="key=value") as caught:
        pairs_of("s3cret")
    assert "s3cret" not in str(caught.value)


def test_a_refused_value_is_not_repeated() -> None:
    told = refused_setting('Invalid value "s3cret" for configuration property "security.protocol"')
    assert "security.protocol" in told
    assert "s3cret" not in told
