"""Priority levels as Baseten numbers them: 0 is the most urgent."""

from typing import Literal, get_args

Level = Literal[0, 1, 2]
LEVELS: tuple[int, ...] = get_args(Level)
DEFAULT_LEVEL: Level = 0
