"""Every attack at a small size, on one API process."""

from collections.abc import Iterator

import pytest

from tests.attack.attacks import ATTACKS, Attack
from tests.attack.stand import Stand, Watch, standing
from tests.memory import MEGABYTE

MOST = 100


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    limits = {
        "KINGPOST_MAX_CONNECTIONS_PER_KEY": str(MOST // 2),
        "KINGPOST_RECEIVE_TIMEOUT_SECONDS": "3",
    }
    with standing(tmp_path_factory.mktemp("stand"), MOST, **limits) as stand:
        yield stand


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_the_bound_of_an_attack_holds(stand: Stand, attack: Attack) -> None:
    with Watch(stand).watching() as watch:
        attack.run(stand, attack.small)
    assert watch.failed == 0
    assert watch.largest < 250 * MEGABYTE
