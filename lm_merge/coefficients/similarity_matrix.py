"""Square tables of similarity between locales (or domains): what selection reads its rows from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray


@dataclass(frozen=True)
class SimilarityMatrix:
    """Similarities by name: row = target, column = source. The diagonal is not read.

    Raises ValueError for names that are there twice, a table that is not square, or a value that is
    not finite.
    """

    names: tuple[str, ...]
    values: Float[ndarray, "targets sources"]

    def __post_init__(self) -> None:
        n = len(self.names)
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise ValueError(f"similarity: {', '.join(twice)} is there twice; keep one column each")
        if self.values.shape != (n, n):
            raise ValueError(
                f"similarity has {self.values.shape[0]} rows for {n} names; give a square table with "
                "one row a column, in the same order"
            )
        wrong = np.argwhere(~np.isfinite(self.values))
        if len(wrong):
            row, column = wrong[0]
            raise ValueError(
                f"similarity of {self.names[row]} and {self.names[column]} is "
                f"{self.values[row, column]}; give a finite number for each pair"
            )

    def place(self, name: str) -> int:
        """Row and column of a name; ValueError that lists the names."""
        if name not in self.names:
            raise ValueError(
                f"{name!r} has no row in the similarity; it has {', '.join(self.names)}"
            )
        return self.names.index(name)

    def row(self, target: str) -> dict[str, float]:
        """Similarity of a target to every name, itself included."""
        row = self.values[self.place(target)]
        return {name: float(value) for name, value in zip(self.names, row, strict=True)}

    def among(self, names: Sequence[str]) -> "SimilarityMatrix":
        """The rows and columns of some names, in their order."""
        places = [self.place(name) for name in names]
        return SimilarityMatrix(tuple(names), self.values[np.ix_(places, places)])


def read_similarity(path: str | Path) -> SimilarityMatrix:
    """A matrix from a CSV file: a header of names, and rows in the same order.

    A first column of names is allowed; then rows may stand in any order. Raises OSError where there is
    no such file, ValueError with the file for what is no square table of finite numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise OSError(
            f"similarity {str(path)!r} is no file; give a CSV file with a header of names"
        )
    import pandas as pd  # a recipe that has no table needs none

    table = pd.read_csv(path, dtype=str)  # numbers are read by Python, exactly
    try:
        if table.shape[1] == len(table) + 1:
            table = table.set_index(table.columns[0])
            unknown = sorted(set(map(str, table.index)) ^ set(map(str, table.columns)))
            if unknown:
                raise ValueError(f"rows and columns differ in {', '.join(unknown)}")
            table = table.loc[list(table.columns)]
        return SimilarityMatrix(tuple(map(str, table.columns)), table.astype(float).to_numpy())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def write_similarity(matrix: SimilarityMatrix, path: Path) -> Path:
    """Write as CSV with a first column of names; `read_similarity` gives the same matrix back."""
    import pandas as pd

    names = pd.Index(matrix.names, name="target")
    pd.DataFrame(matrix.values, index=names, columns=list(matrix.names)).to_csv(path)
    return path
