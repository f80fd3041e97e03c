"""Markdown tables that are readable before they are rendered."""


def markdown_table(header, rows):
    """Format a table: the first column to the left, figures to the right.

    Parameters
    ----------
    header : sequence of str
    rows : sequence of sequences of str
        As many cells each as the header has.

    Returns
    -------
    str
        Without a line break at the end.
    """
    cells = [list(map(str, row)) for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]

    def line(row):
        first, *rest = zip(row, widths, strict=True)
        padded = [first[0].ljust(first[1]), *(text.rjust(n) for text, n in rest)]
        return f"| {' | '.join(padded)} |"

    rule = [":" + "-" * (widths[0] - 1), *("-" * (n - 1) + ":" for n in widths[1:])]
    return "\n".join([line(cells[0]), line(rule), *map(line, cells[1:])])
