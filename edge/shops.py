"""Who may use the edge: write keys by shop, the origins whose pages may, and the keys that sign session tokens.

The file (``edge_keys``), read once at the start:

    signing_keys:                   # the first one signs; keep the old one a day after a rotation
      - {id: "2026-12", secret: "<64 hexadecimal digits>"}
    shops:
      shoes:
        write_keys: [wk_7f3c]
        origins: ["https://shoes.example", "http://localhost:*"]

A write key is publishable: it stands in the page. It says which shop sends, and from which pages a browser may.
"""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from edge.tokens import SECRET_BYTES
from featurestore.errors import SettingsError

DEMO_KEY: Final = "demo"
LOOPBACK: Final = ("http://localhost:*", "http://127.0.0.1:*", "http://[::1]:*")
_Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


@dataclass(frozen=True, slots=True)
class Shop:
    """One shop; an origin ends in ``:*`` for every port, or is ``*`` for every origin."""

    name: str
    origins: tuple[str, ...]

    def allows(self, origin: str) -> bool:
        """Whether a page of this origin may use the shop's keys."""
        return any(_matches(pattern, origin) for pattern in self.origins)


@dataclass(frozen=True, slots=True)
class Shops:
    """The shops by write key, and the secrets that sign tokens by key id, the signing one first."""

    by_key: dict[str, Shop]
    signing_keys: dict[str, bytes]


class _SigningKey(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: _Word
    secret: SecretStr

    @field_validator("secret")
    @classmethod
    def _is_secret(cls, value: SecretStr) -> SecretStr:
        try:
            enough = len(bytes.fromhex(value.get_secret_value())) >= SECRET_BYTES
        except ValueError:
            enough = False
        if not enough:
            raise ValueError("must be 64 hexadecimal digits or more: openssl rand -hex 32")
        return value


class _Shop(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    write_keys: Annotated[list[_Word], Field(min_length=1)]
    origins: list[str] = []

    @field_validator("origins")
    @classmethod
    def _are_origins(cls, value: list[str]) -> list[str]:
        for origin in value:
            scheme, found, host = origin.partition("://")
            if origin != "*" and not (found and scheme in {"http", "https"} and host and "/" not in host):
                raise ValueError("an origin is https://host or https://host:port, without a path; or *")
        return value


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    signing_keys: Annotated[list[_SigningKey], Field(min_length=1)]
    shops: Annotated[dict[_Word, _Shop], Field(min_length=1)]


def load_shops(path: Path) -> Shops:
    """Read the file.

    Raises:
        SettingsError: it cannot be read or is wrong; says where, and quotes no secret.
    """
    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        file = _File.model_validate(data)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read ({type(error).__name__}); check the path and the rights") from None
    except yaml.YAMLError:
        raise SettingsError(f"{path}: not YAML; docs/edge.md shows the file") from None
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors(include_input=False)]
        raise SettingsError(f"{path} is wrong:\n  " + "\n  ".join(lines)) from None
    by_key: dict[str, Shop] = {}
    for name, shop in file.shops.items():
        for key in shop.write_keys:
            if key in by_key:
                raise SettingsError(
                    f"{path}: a write key stands twice, in {by_key[key].name} and in {name}; remove one"
                )
            by_key[key] = Shop(name, tuple(shop.origins))
    return Shops(by_key, {key.id: bytes.fromhex(key.secret.get_secret_value()) for key in file.signing_keys})


def demo_shops(secret: str) -> Shops:
    """The write key ``demo`` for pages of this machine; ``secret`` in hexadecimal, of `new_secret`."""
    return Shops({DEMO_KEY: Shop(DEMO_KEY, LOOPBACK)}, {"demo": bytes.fromhex(secret)})


def new_secret() -> str:
    """A secret that signs until the edge stops."""
    return secrets.token_hex(SECRET_BYTES)


def _matches(pattern: str, origin: str) -> bool:
    if pattern.endswith(":*"):
        host, _, port = origin.rpartition(":")
        return origin == pattern[:-2] or (host == pattern[:-2] and port.isdigit())
    return pattern in {"*", origin}
