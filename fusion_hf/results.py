"""What the verbs return: typed results that become dicts (for ``--json``), data frames, and text for a terminal."""

import dataclasses
import json
import math
from os import PathLike
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass
class Result:
    """Base of every result: a dataclass whose fields are the figures.

    A subclass whose figures are a table says its rows in `table`; one that is read in a terminal overrides ``__str__``.
    """

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON can hold them: numbers stay numbers, what was not measured is None."""
        names = [f.name for f in dataclasses.fields(self) if f.metadata.get("json", True)]
        return {name: jsonable(getattr(self, name)) for name in names}

    def table(self) -> list[dict[str, Any]]:
        """Rows of the table that this result is; raises `TypeError` where it is none."""
        raise TypeError(f"{type(self).__name__} is not a table: use to_dict()")

    def to_pandas(self) -> "pd.DataFrame":
        """The rows of `table` as a data frame."""
        import pandas as pd

        return pd.DataFrame(self.table())

    def __str__(self) -> str:
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False)


def jsonable(value: Any) -> Any:
    """`value` with only what JSON has: NaN and infinity become None, numpy scalars numbers, paths text."""
    if isinstance(value, Result):
        return value.to_dict()
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(item) for item in value]
    if isinstance(value, PathLike):
        return str(value)
    if hasattr(value, "tolist"):  # numpy and torch, without importing either
        return jsonable(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
