"""Texts of peers, as they are shown to people."""

from __future__ import annotations


def harmless(text: str) -> str:
    """Escapes characters that a terminal would obey, and those that nobody sees."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
