"""The two sides of an evaluation protocol as rows of a store, checked for a classifier."""

from dataclasses import dataclass

import numpy as np
import torch

from models.targets import class_targets
from pipeline.core.errors import UserError
from pipeline.store.clip_store import ClipStore
from pipeline.store.index import StoreIndex
from pipeline.store.protocols import Side


@dataclass(frozen=True)
class Split:
    """The clips of both sides of a protocol. Their labels have been checked.

    Attributes:
        index: the index of the whole store.
        train: int64 [N_train], ids (rows of the store) of the training side, ascending.
        test: int64 [N_test], ids of the test side, ascending.
    """

    index: StoreIndex
    train: np.ndarray
    test: np.ndarray

    @classmethod
    def of(
        cls, store: ClipStore, sides: dict[str, Side], index: StoreIndex | None = None
    ) -> "Split":
        """Select the two sides of a protocol in a store and check them.

        Args:
            store: an opened store.
            sides: the sides `train` and `test` of the protocol.
            index: the index of the store, if it has been read already.

        Raises:
            UserError: a side is empty, a clip is on both sides or has no label, or the test side
                has a class that the training side lacks.
        """
        if index is None:
            index = store.index()
        train = store.select(sides["train"], index)
        test = store.select(sides["test"], index)
        protocol = f"{store.uri}: protocol {sides['train'].protocol!r}"
        shared = len(np.intersect1d(train, test))
        if shared:
            raise UserError(f"{protocol} has {shared} clips on both its sides")
        split = cls(index, train, test)
        # Called for its checks alone.
        try:
            class_targets(torch.from_numpy(split.train_labels), torch.from_numpy(split.test_labels))
        except ValueError as error:
            raise UserError(f"{protocol}: {error}") from None
        return split

    @property
    def train_labels(self) -> np.ndarray:
        """Labels of the training side, int64 [N_train]."""
        return self.index.label[self.train]

    @property
    def test_labels(self) -> np.ndarray:
        """Labels of the test side, int64 [N_test]."""
        return self.index.label[self.test]

    @property
    def ids(self) -> np.ndarray:
        """Ids of both sides together, int64 [N], ascending."""
        return np.union1d(self.train, self.test)

    def rows(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cut features of all `ids` into those of both sides.

        Args:
            features: [N, ...], in the order of `ids`.

        Returns:
            Those of the training side [N_train, ...], and of the test side [N_test, ...].
        """
        of_train = features[np.searchsorted(self.ids, self.train)]
        of_test = features[np.searchsorted(self.ids, self.test)]
        return of_train, of_test
