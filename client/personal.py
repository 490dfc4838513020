"""What users keep on this node between messages, and which round of it the node goes back to.

It lives in the node's Flower state: as it is now, and as it was in the best round so far. Nothing
of it is in any answer.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, cast

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message
from numpy.typing import NDArray

from fedrec import wire
from fedrec.training.node import Node
from fedrec.training.personal import personal_parts
from fedrec.training.personal_parts import PersonalParts

LOG = logging.getLogger(__name__)
_NOW, _BEST, _ABOUT = "personal", "personal-best", "personal-about"
_BEST_ROUND, _TRAINED = "best-round", "trained-round"


class KeptParts:
    """The personal parts that a message is about; `now` is None where the stage has none.

    The server says which round is the best so far. A node hears of it before it trains again, so
    what it holds then is what was measured, and becomes the copy to go back to: for the test, and
    where the next stage begins.
    """

    def __init__(self, message: Message, context: Context, node: Node) -> None:
        asked = message.content.config_records[wire.CONFIG]
        task = node.task(str(asked[wire.STAGE]))
        names = personal_parts(node.config, task.stage)
        self._state, self.now = context.state, None
        if not names:
            return
        self._round = int(cast(int, asked[wire.ROUND]))
        rate = node.config.personal.learning_rate
        best = int(cast(int, asked[wire.BEST]))
        if best and _ABOUT not in self._state:
            LOG.warning("this node holds nothing that its users kept: they begin at zero again")
        self._about = self._enter(task.stage.name)
        self._follow(best)
        if asked.get(wire.SPLIT) == "test":
            self._go_back()
        self.now = PersonalParts.of_arrays(self._read(_NOW), names, rate)

    def keep(self) -> None:
        """Note that this node has trained in the message's round."""
        if self.now is not None:
            self._write(_NOW, self.now.arrays())
            self._note(_TRAINED, self._round)

    def _enter(self, stage: str) -> ConfigRecord:
        """What is noted of the stage; a new one begins with the best round of the one before."""
        about = self._state.config_records.get(_ABOUT, ConfigRecord())
        if about.get(wire.STAGE) != stage:
            if about:
                self._write(_NOW, self._read(_BEST))
            self._write(_BEST, self._read(_NOW))
            about = ConfigRecord({wire.STAGE: stage, _BEST_ROUND: 0, _TRAINED: 0})
            self._state[_ABOUT] = about
        return about

    def _follow(self, best: int) -> None:
        """Keep a copy of what is held now, where that is what the best round was measured with."""
        if best == self._about[_BEST_ROUND]:
            return
        trained = int(cast(int, self._about[_TRAINED]))
        if trained > best:
            LOG.warning(
                "this node did not hear in time that round %d was the best; what its users keep of "
                "round %d counts as that",
                best,
                trained,
            )
        self._write(_BEST, self._read(_NOW))
        self._note(_BEST_ROUND, best)

    def _go_back(self) -> None:
        self._write(_NOW, self._read(_BEST))
        self._note(_TRAINED, self._about[_BEST_ROUND])

    def _note(self, key: str, value: Any) -> None:
        self._about[key] = value
        self._state[_ABOUT] = self._about

    def _read(self, name: str) -> dict[str, NDArray[Any]]:
        record = self._state.array_records.get(name, ArrayRecord())
        return {key: array.numpy() for key, array in record.items()}

    def _write(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._state[name] = ArrayRecord({key: Array(value) for key, value in arrays.items()})
