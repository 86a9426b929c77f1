"""What someone who wrote an unknown name probably meant."""

from collections.abc import Iterable
from difflib import get_close_matches

COMPARISONS = 1_000_000


class Suggestions:
    """The nearest known writing of a text, within a budget: comparing is slow, and everything sent can be wrong.

    ``comparisons`` is how many known writings are looked at in all; one takes 4 to 30 microseconds.
    """

    def __init__(self, comparisons: int = COMPARISONS) -> None:
        self._left = comparisons
        self._found: dict[tuple[str, str], str | None] = {}

    def nearest(self, what: str, text: str, known: Iterable[str]) -> str | None:
        """Return the writing among ``known``, which ``what`` names, that is nearest to a text in small letters.

        Where none is near, the text as it stands is compared. None: nothing is near, or the budget is spent.
        """
        key = (what, text)
        if key not in self._found and self._left > 0:
            writings = list(known)
            self._found[key] = None
            for written in dict.fromkeys((text.casefold(), text)):
                self._left -= len(writings)
                if close := get_close_matches(written, writings, n=1):
                    self._found[key] = close[0]
                    break
        return self._found.get(key)
