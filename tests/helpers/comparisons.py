"""Runs to compare: a search as it could have gone, and the trials of a table."""

import math
import random

from pipeline.tables.compared import ComparedRun

FUSIONS = ("early", "late", "dc")


def searched(points: int, seeds: int = 1, curve_points: int = 100) -> list[ComparedRun]:
    """The trials of a search: the learning rate decides, then the temperature, nothing else.

    Some are stopped early and some fail, as in a search.
    """
    chance = random.Random(0)
    runs = []
    for point in range(points):
        rate = 10 ** chance.uniform(-4, -1.5)
        temperature = chance.uniform(0.05, 0.5)
        weight = 10 ** chance.uniform(-2, 1)
        fusion = chance.choice(FUSIONS)
        layers = chance.randint(1, 4)
        good = 0.9 - 0.1 * (math.log10(rate) + 2.8) ** 2 - 0.3 * abs(temperature - 0.2)
        good += 0.01 * layers
        for seed in range(seeds):
            state = chance.choices(("finished", "stopped", "failed"), (0.7, 0.27, 0.03))[0]
            epochs = curve_points if state == "finished" else max(curve_points // 8, 2)
            top1 = min(good + chance.gauss(0, 0.006), 0.97)
            loss, accuracy = [], []
            for epoch in range(epochs):
                share = 1 - math.exp(-6 * (epoch + 1) / curve_points)
                step = 10 * (epoch + 1)
                loss.append((step, 6 - 2 * top1 * share + chance.gauss(0, 0.03)))
                accuracy.append((step, 0.4 + (top1 - 0.4) * share + chance.gauss(0, 0.004)))
            figures = {
                "held_out/linear_top1": accuracy[-1][1],
                "held_out/knn_top1": accuracy[-1][1] - 0.03 + chance.gauss(0, 0.01),
                "loss": loss[-1][1],
                "effective_rank": 30 + 60 * top1 + chance.gauss(0, 4),
                "parameters": 400_000 * layers + 250_000,
                "gflops": 0.02 * layers + 0.004 * FUSIONS.index(fusion),
                "seconds": 20 * layers * epochs / curve_points + chance.uniform(2, 4),
            }
            parameters = {
                "name": f"point{point:03d}-{seed}",
                "seed": seed,
                "train.optimiser.lr": rate,
                "objective.alignment.temperature": temperature,
                "objective.view.weight": weight,
                "model.fusion": fusion,
                "model.layers": layers,
            }
            for number in range(90):
                parameters[f"section{number // 10}.key{number}"] = number
            runs.append(
                ComparedRun(
                    id=f"point{point:03d}-{seed}",
                    name=f"point{point:03d}-{seed}",
                    group=f"point{point:03d}",
                    seed=seed,
                    state=state,
                    parameters=parameters,
                    figures=figures if state != "failed" else {},
                    curves={"loss": loss, "held_out/linear_top1": accuracy},
                    link=f"point{point:03d}-{seed}/report.html",
                    notes="by the scheduler" if state == "stopped" else "",
                )
            )
    return runs
