"""What the steps have in common: reading flowers, and telling them apart."""

import csv
import math


def read_flowers(path):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name != "species"]
    return [[float(row[name]) for name in names] for row in rows], [row["species"] for row in rows]


def probabilities(weights, flower):
    scores = [sum(w * x for w, x in zip(row, [*flower, 1.0])) for row in weights]
    top = max(scores)
    powers = [math.exp(score - top) for score in scores]
    return [power / sum(powers) for power in powers]


def nearest(means, flower):
    return min(means, key=lambda species: math.dist(means[species], flower))
