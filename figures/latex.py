"""Tables for a paper: LaTeX with booktabs rules, values with their intervals."""

from collections.abc import Sequence

import pandas as pd

from figures.columns import require_columns, require_one_row_per


def latex_table(table: pd.DataFrame, *, caption: str, label: str) -> str:
    r"""A table as a LaTeX float that needs `\usepackage{booktabs}` and nothing else.

    Columns of numbers are set to the right; a cell holds at most three decimals. All text,
    caption included, is plain: characters special to LaTeX are escaped. Undefined cells are empty.
    """
    require_columns(table, [])
    numeric = [pd.api.types.is_numeric_dtype(dtype) for dtype in table.dtypes]
    shown = table.rename(columns={name: _escaped(str(name)) for name in table.columns})
    style = shown.style
    style.hide(axis="index").format(escape="latex", precision=3, na_rep="")
    return style.to_latex(
        hrules=True,
        caption=_escaped(caption),
        label=label,
        position="t",
        position_float="centering",
        column_format="".join("r" if is_number else "l" for is_number in numeric),
    )


def interval_table(
    table: pd.DataFrame,
    *,
    rows: Sequence[str],
    columns: str,
    value: str,
    low: str,
    high: str,
    scale: float = 1.0,
    digits: int = 1,
) -> pd.DataFrame:
    """A tidy table spread out for print: one line for each `rows`, one column for each `columns`.

    Cells read "58.2 [55.1, 61.0]": value, low, high, each times `scale` (100 for percent).
    """
    require_columns(table, [*rows, columns, value, low, high])
    require_one_row_per(table, [*rows, columns])
    cells = [
        _with_interval(point, bottom, top, scale, digits)
        for point, bottom, top in zip(table[value], table[low], table[high], strict=True)
    ]
    keys = [*rows, columns]
    order = {key: pd.Categorical(table[key], list(table[key].unique())) for key in keys}
    tidy = pd.DataFrame(order | {"cell": cells})
    wide = tidy.pivot(index=list(rows), columns=columns, values="cell").reset_index()
    return wide.astype(str).replace("nan", "").rename_axis(columns=None)


def _with_interval(value: float, low: float, high: float, scale: float, digits: int) -> str:
    if pd.isna(value):
        return ""
    text = f"{value * scale:.{digits}f}"
    if pd.isna(low) or pd.isna(high):
        return text
    return f"{text} [{low * scale:.{digits}f}, {high * scale:.{digits}f}]"


def _escaped(text: str) -> str:
    special = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}"}
    special |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
    return "".join(special.get(character, character) for character in text)
