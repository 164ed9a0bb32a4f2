"""Tables at a terminal."""

from rich import box
from rich.console import Console
from rich.table import Table


def plain_table() -> Table:
    """Without frame: with every category of questions it fits into 80 columns."""
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)


def print_titled(console: Console, title: str, table: Table) -> None:
    """The title in bold, the table, an empty line."""
    console.print(title, style="bold", markup=False, highlight=False)
    console.print(table, "")
