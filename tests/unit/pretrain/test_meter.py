import math

import pytest
import torch

from pipeline.pretrain.meter import Meter


def losses(total, **others):
    values = {"loss": total, "loss/part": total / 2} | others
    return {name: torch.tensor(value) for name, value in values.items()}


def test_a_row_holds_means_of_losses_and_the_last_of_other_figures():
    meter = Meter(torch.device("cpu"))
    meter.add(losses(1.0), 0, 8)
    meter.add(losses(3.0, **{"collapse/deviation": 0.25}), 1, 8)
    row = meter.row()
    assert row["loss"] == 2.0 and row["loss/part"] == 1.0 and row["collapse/deviation"] == 0.25
    assert row["train/clips_per_second"] > 0
    # The next row knows nothing of this one.
    meter.add(losses(5.0), 2, 8)
    row = meter.row()
    assert row["loss"] == 5.0 and "collapse/deviation" not in row


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_first_loss_that_is_not_finite_is_remembered_over_rows(bad):
    meter = Meter(torch.device("cpu"))
    meter.add(losses(1.0), 0, 8)
    assert meter.first_bad() is None
    meter.add(losses(bad), 1, 8)
    meter.row()
    meter.add(losses(bad), 2, 8)
    meter.add(losses(1.0), 3, 8)
    assert meter.first_bad() == 1
