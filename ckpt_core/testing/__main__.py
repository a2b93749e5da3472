"""`python -m ckpt_core.testing NAME`: print the scorecard of a plugin.

Exit codes: 0 where nothing is broken and something was checked, 1 where a rule is broken, 2 where there is no such
plugin or test class, 3 where nothing was checked.
"""

import argparse
import sys
from collections.abc import Sequence

from ckpt_core.errors import UsageError
from ckpt_core.testing.scorecard import BROKEN, HELD, Scorecard, page, scorecards


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the scorecards; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m ckpt_core.testing",
        description="Hold a plugin to the rules of the kit. Its own save makes the samples where a name is given.",
        epilog="exit codes: 0 nothing broken, 1 a rule is broken, 2 no such plugin or class, 3 nothing was checked",
    )
    parser.add_argument("name", help="an installed plugin, or a test class as package.module:TestClass")
    parser.add_argument("--format", help="check this one of the plugin's formats")
    parser.add_argument("--saved-as", metavar="NAME", help="the name of samples, where names mean something")
    given = parser.parse_args(arguments)
    try:
        cards = scorecards(given.name, format=given.format, saved_as=given.saved_as)
    except UsageError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 2
    print(page(cards))
    return exit_code(cards)


def exit_code(cards: Sequence[Scorecard]) -> int:
    """Return the last lines of the cards.

    Rules that need no sample prove nothing of a format by themselves.
    """
    if any(card.count(BROKEN) for card in cards):
        return 1
    return 0 if any(_was_read(card) for card in cards) else 3


def _was_read(card: Scorecard) -> bool:
    return any(line.outcome == HELD and line.needs_sample for line in card.lines)


if __name__ == "__main__":
    sys.exit(main())
