"""Tables inside a Markdown file, between `<!-- table:NAME -->` and `<!-- end -->`, filled from results."""

from __future__ import annotations

import re

from utils.errors import InputError
from utils.evaluation.tables import Table

#: A marked table and its name.
MARKED = re.compile(r"(<!-- table:(\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def fill_tables(text: str, tables: list[Table]) -> str:
    """The text with each marked table made anew. Raises InputError for a name that is none of the tables."""
    known = {table.name: table for table in tables}

    def fresh(found: re.Match) -> str:
        if found[2] not in known:
            raise InputError(f"marker table:{found[2]} names no table; known are {', '.join(known)}")
        return f"{found[1]}\n{known[found[2]].markdown()}\n\n{found[3]}"

    return MARKED.sub(fresh, text)
