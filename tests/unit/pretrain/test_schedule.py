import math

import pytest

from pipeline.config.train import Average, Schedule
from pipeline.pretrain.schedule import average_decay, factor


def schedule(**settings):
    return Schedule(
        **({"name": "cosine", "warmup_steps": 0, "milestones": [], "gamma": 0.1} | settings)
    )


def test_warm_up_rises_linearly_to_the_base_rate():
    warm = schedule(warmup_steps=4)
    assert [factor(warm, update, 10, 2) for update in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert factor(warm, 4, 10, 2) == 1.0


def test_cosine_halves_in_the_middle_and_ends_near_zero():
    assert factor(schedule(), 50, 10, 10) == pytest.approx(0.5)
    assert factor(schedule(), 99, 10, 10) == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.99)))
    assert factor(schedule(), 99, 10, 10) < 0.001


def test_steps_drop_at_the_start_of_a_milestone_epoch():
    # UmURL: x0.1 from epoch 351 of 451.
    drops = schedule(name="step", milestones=[3, 5])
    assert [factor(drops, epoch * 7, 7, 6) for epoch in range(6)] == pytest.approx(
        [1, 1, 1, 0.1, 0.1, 0.01]
    )
    assert factor(drops, 3 * 7 - 1, 7, 6) == 1


def test_the_decay_of_an_average_stays_or_rises_along_a_cosine():
    assert average_decay(Average(decay=None, rise=True, export=True), 3, 10) is None
    constant = Average(decay=0.96, rise=False, export=True)
    assert {average_decay(constant, update, 1000) for update in range(300, 1000)} == {0.96}
    rising = Average(decay=0.96, rise=True, export=True)
    decays = [average_decay(rising, update, 1000) for update in range(1000)]
    assert decays[500] == pytest.approx(0.98)
    assert decays == sorted(decays)
    # So late the limit of the beginning is all that is left of a decay near 1.
    assert decays[-1] == pytest.approx(1000 / 1009)


def test_an_average_forgets_the_initial_weights():
    average = Average(decay=0.99, rise=False, export=True)
    decays = [average_decay(average, update, 120) for update in range(120)]
    assert decays[:2] == [1 / 10, 2 / 11] and decays[-1] == 120 / 129
    # Without the limit 30 % of an average would be what training began with.
    assert math.prod(decays) < 1e-9 and 0.99**120 > 0.29
