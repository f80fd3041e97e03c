"""Markdown tables that are readable before they are rendered."""


def markdown_table(header, rows, n_left=1):
    """Format a table: the first columns to the left, figures to the right.

    Parameters
    ----------
    header : sequence of str
    rows : sequence of sequences of str
        As many cells each as the header has.
    n_left : int, default=1
        Number of columns of text, aligned to the left.

    Returns
    -------
    str
        Without a line break at the end.
    """
    cells = [list(map(str, row)) for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]

    def line(row):
        padded = [
            text.ljust(n) if i < n_left else text.rjust(n)
            for i, (text, n) in enumerate(zip(row, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [
        ":" + "-" * (n - 1) if i < n_left else "-" * (n - 1) + ":"
        for i, n in enumerate(widths)
    ]
    return "\n".join([line(cells[0]), line(rule), *map(line, cells[1:])])
