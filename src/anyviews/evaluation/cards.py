"""Model cards whose figures are written by the commands that measure them."""

import re


def table(rows: dict[str, dict[str, float]], first: str) -> str:
    """A Markdown table of rows with the same or fewer columns than the longest."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    lines = [f"| {first} | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    for name, row in rows.items():
        lines.append(f"| {name} | {' | '.join(_number(row[c]) if c in row else '' for c in columns)} |")
    return "\n".join(lines)


def _number(value: float) -> str:
    """Three significant digits, or the whole number."""
    return str(value) if isinstance(value, int) else f"{value:.3g}"


def fill(card: str, name: str, text: str) -> str:
    """Replace what stands between the markers <!-- name --> and <!-- /name --> of a card.

    Raises:
        ValueError: if the card has no such section.
    """
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.S)
    if not pattern.search(card):
        raise ValueError(f"the card has no <!-- {name} --> ... <!-- /{name} --> section")
    return pattern.sub(lambda match: f"{match[1]}{text}\n{match[2]}", card)
