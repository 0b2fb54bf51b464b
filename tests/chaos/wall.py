"""The store's wall clock, which a test moves: `wall.c` goes between Valkey and the C library."""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).with_name("wall.c")


@dataclass
class Wall:
    """One clock, for every server that is started with `env`."""

    folder: Path
    hours: int = 0  # that it is off
    env: dict[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        library, self._offset = self.folder / "wall.so", self.folder / "wall.offset"
        command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE)]
        subprocess.run(command, check=True)
        self._offset.write_bytes(bytes(8))
        self.env = {"LD_PRELOAD": str(library), "WALL_OFFSET": str(self._offset)}

    def jump(self, hours: int) -> None:
        """Sets it forward, or back."""
        self.hours += hours
        with self._offset.open("r+b") as file:
            file.write((self.hours * 3600).to_bytes(8, "little", signed=True))
