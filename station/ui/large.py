"""A few words in letters that are read from across the room; the same words stand small beside them."""

from rich.text import Text

# Three lines of cells for each letter: what is needed and no more
_LETTERS = {
    "A": ("▄▀▄", "█▀█", "▀ ▀"),
    "C": ("▄▀▀", "█  ", " ▀▀"),
    "E": ("█▀▀", "█▀▀", "▀▀▀"),
    "G": ("▄▀▀", "█ █", " ▀▀"),
    "I": ("█", "█", "▀"),
    "K": ("█ █", "█▀▄", "▀ ▀"),
    "L": ("█  ", "█  ", "▀▀▀"),
    "M": ("█▄ ▄█", "█ ▀ █", "▀   ▀"),
    "N": ("█▄ █", "█ ▀█", "▀  ▀"),
    "O": ("▄▀▄", "█ █", " ▀ "),
    "P": ("█▀▄", "█▀ ", "▀  "),
    "R": ("█▀▄", "█▀▄", "▀ ▀"),
    "S": ("▄▀▀", " ▀▄", "▀▀ "),
    "T": ("▀█▀", " █ ", " ▀ "),
    "U": ("█ █", "█ █", " ▀ "),
    "V": ("█ █", "█ █", " ▀ "),
    "X": ("▀▄▀", " █ ", "▀ ▀"),
    "Y": ("█ █", " █ ", " ▀ "),
    "-": ("  ", "▀▀", "  "),
    " ": ("  ", "  ", "  "),
}


def large(words: str, columns: int) -> Text:
    """Three lines, centred; as they are where the terminal is too narrow.

    Raises
    ------
    KeyError
        For a letter that has no large form.
    """
    lines = [" ".join(_LETTERS[letter][row] for letter in words) for row in range(3)]
    if len(lines[0]) > columns:
        return Text(words, style="bold", justify="center")
    return Text("\n".join(lines), style="bold", justify="center", no_wrap=True)
