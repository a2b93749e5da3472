"""Loggers that import `logging` for listeners alone.

It takes longer to import than to open a checkpoint.
"""

import sys


class Logger:
    """The logger of a name.

    What is said for information is dropped where nobody has imported `logging`.

    Args:
        name: Of the module that speaks.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def info(self, text: str, *values: object) -> None:
        if "logging" in sys.modules:
            import logging

            logging.getLogger(self._name).info(text, *values, stacklevel=2)

    def warning(self, text: str, *values: object) -> None:
        import logging

        logging.getLogger(self._name).warning(text, *values, stacklevel=2)
