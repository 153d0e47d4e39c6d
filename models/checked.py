"""Configs whose values come from outside: everything that is wrong is said at once."""

from typing import Self

from pydantic import BaseModel, ValidationError

from featurestore.errors import SettingsError


class Checked(BaseModel):
    """A config that can be made from outside values."""

    @classmethod
    def checked(cls, **values: object) -> Self:
        """A config from outside values.

        Raises:
            SettingsError: naming every wrong value.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            lines = [
                f"{'.'.join(map(str, problem['loc']))}: {problem['msg'].removeprefix('Value error, ')}"
                for problem in error.errors()
            ]
            raise SettingsError("\n".join(lines)) from None
