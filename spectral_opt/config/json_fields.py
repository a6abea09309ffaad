"""The fields of a config as plain values and as JSON, both ways."""

import dataclasses
import difflib
import json
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from spectral_opt.config._fields import callable_address

Config = TypeVar("Config", bound="JsonFields")


class JsonFields:
    """Give a dataclass of config fields `to_dict`, `from_dict`, `to_json` and `from_json`."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values; a callable becomes "module:name".

        Returns
        -------
        dict
            One entry per field, in order, fit for JSON.

        Raises
        ------
        ValueError
            If a callable cannot be found again under its module and name (a lambda, a closure, an instance).
        """
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(cast(Any, self))}
        for name in ("builder", "source", "response"):
            values[name] = callable_address(name, values[name])
        for name in ("targets", "exclude"):
            values[name] = list(values[name]) if isinstance(values[name], tuple) else values[name]
        for name in ("builder_options", "response_options"):
            values[name] = dict(values[name])
        return values

    @classmethod
    def from_dict(cls: type[Config], values: Mapping[str, Any]) -> Config:
        """Make a config from plain values; fields that are missing take their default.

        Parameters
        ----------
        values : mapping
            Field names and values, as `to_dict` gives them.

        Returns
        -------
        SpectralConfig
            The config, validated.

        Raises
        ------
        TypeError
            If a field is unknown; the message names the nearest one.
        """
        known = [item.name for item in dataclasses.fields(cast(Any, cls))]
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise TypeError(f"{cls.__name__} has no field {name!r}{hint} (fields: {', '.join(known)})")
        return cls(**values)

    def to_json(self) -> str:
        """Return the config as one JSON object.

        Returns
        -------
        str
            JSON text, readable by `from_json`.

        Raises
        ------
        ValueError
            If an option is no JSON value or a callable has no address.
        """
        try:
            return json.dumps(self.to_dict(), allow_nan=False)
        except TypeError as error:
            raise ValueError(f"an option of this config cannot be written as JSON: {error}") from error

    @classmethod
    def from_json(cls: type[Config], text: str) -> Config:
        """Make a config from the text that `to_json` wrote.

        Parameters
        ----------
        text : str
            One JSON object.

        Returns
        -------
        SpectralConfig
            The config, validated; callables are imported from their address.

        Raises
        ------
        ValueError
            If the text is not a JSON object.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ValueError(f"this text is not JSON, so no config: {error}") from error
        if not isinstance(values, dict):
            raise ValueError(f"a config is a JSON object of fields; this is a {type(values).__name__}")
        return cls.from_dict(values)
