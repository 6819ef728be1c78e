"""Text for terminals and pipes: lines of styled pieces, kernel text never as markup."""

from collections.abc import Iterable

Piece = tuple[str, str]
"""(text, style); the style is one of rich's names, "" for none."""
Line = tuple[Piece, ...]


def plain(lines: Iterable[Line]) -> str:
    """Return lines as plain text: kernel text with its control characters made visible."""
    return "".join(f"{''.join(_visible(text) for text, _ in line).rstrip()}\n" for line in lines)


def _visible(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def print_styled(lines: Iterable[Line]) -> None:
    """Print lines on the terminal, with colour where it can show them."""
    from rich.console import Console  # noqa: PLC0415 - only a terminal pays for it
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        console.print(Text.assemble(*((_visible(text), style) for text, style in line)))
