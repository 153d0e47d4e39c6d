"""Users and rights of a guarded broker (`KafkaBroker.guard`)."""

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from confluent_kafka.admin._scram import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from tests.services.process import Unavailable, on_path

WAIT_S: Final = 20
PASSWORD: Final = "kafka secret, with = signs"


class Right(NamedTuple):
    """What a user may do.

    Attributes:
        operation: as Kafka names it, such as READ.
        kind: "topic" or "group".
        name: of it.
    """

    operation: str
    kind: str
    name: str


class KafkaRights:
    """Gives and takes rights.

    Args:
        bootstrap: a listener by which everything is allowed.
    """

    def __init__(self, bootstrap: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap})

    def add_user(self, user: str) -> None:
        """A user with `PASSWORD` and no right."""
        secret = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4_096)
        wanted = UserScramCredentialUpsertion(user, secret, PASSWORD.encode())
        self._done(self._admin.alter_user_scram_credentials([wanted]))

    def allow(self, user: str, rights: Iterable[Right]) -> None:
        """Give rights."""
        self._done(self._admin.create_acls([AclBinding(*self._parts(user, right)) for right in rights]))

    def revoke(self, user: str, rights: Iterable[Right]) -> None:
        """Take rights."""
        self._done(self._admin.delete_acls([AclBindingFilter(*self._parts(user, right)) for right in rights]))

    def _parts(self, user: str, right: Right) -> tuple[Any, ...]:
        kind, operation = ResourceType[right.kind.upper()], AclOperation[right.operation]
        whole, allow = ResourcePatternType.LITERAL, AclPermissionType.ALLOW
        return kind, right.name, whole, f"User:{user}", "*", operation, allow

    def _done(self, answers: dict[Any, Any]) -> None:
        for answer in answers.values():
            answer.result(WAIT_S)


def access(user: str, certificate: Path | None = None) -> dict[str, str]:
    """The settings of a Clickstage process that comes as a user, by name; with TLS if there is a certificate."""
    protocol = f"SASL_SSL,ssl.ca.location={certificate}" if certificate else "SASL_PLAINTEXT"
    return {
        "kafka_config": f"security.protocol={protocol},sasl.mechanism=SCRAM-SHA-512,sasl.username={user}",
        "kafka_password": PASSWORD,
    }


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that lasts a day, and a file with its key as well.

    Raises:
        Unavailable: no openssl.
    """
    key, made, both = folder / "key.pem", folder / "certificate.pem", folder / "both.pem"
    command = [on_path("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    done = subprocess.run(
        [*command, *names, "-keyout", str(key), "-out", str(made)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise Unavailable(f"openssl makes no certificate: {done.stderr.strip()}")
    both.write_text(key.read_text() + made.read_text())
    return made, both
