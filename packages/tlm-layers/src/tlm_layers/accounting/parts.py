"""A number for each part of a model."""

from collections.abc import Iterable
from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Numbers by the part of the model that they belong to: the fields of a subclass.

    `print` shows them as a table.
    """

    def by_part(self) -> dict[str, int]:
        """The numbers by the names of the parts."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def total(self) -> int:
        """Their sum."""
        return sum(self.by_part().values())

    def __str__(self) -> str:
        """A table of the parts, their numbers and shares."""
        rows = [*self.by_part().items(), ("total", self.total)]
        return table(
            (name.replace("_", " "), f"{n:,}", f"{n / max(self.total, 1):.1%}") for name, n in rows
        )


def table(rows: Iterable[tuple[str, ...]]) -> str:
    """Align cells under each other, the first to the left and the others to the right.

    Args:
        rows: of equal lengths.

    Returns:
        Lines without a last line end.

    Example:
        >>> print(table([("a", "1"), ("bcd", "23")]))
        a     1
        bcd  23
    """
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        )
        for row in zip(*columns, strict=True)
    )
