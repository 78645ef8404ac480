"""Softmax regression by stochastic gradient descent; needs nothing but Python."""

import argparse
import json
import math
import random

from flowers import probabilities, read_flowers

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--lr", type=float, default=0.1, help="learning rate")
parser.add_argument("--epochs", type=int, default=20, help="passes over the flowers")
parser.add_argument("--seed", type=int, default=1, help="order of the flowers")
args = parser.parse_args()

flowers, labels = read_flowers("split/train.csv")
species = sorted(set(labels))
weights = [[0.0] * (len(flowers[0]) + 1) for _ in species]
chance = random.Random(args.seed)
for epoch in range(1, args.epochs + 1):
    loss = 0.0
    for at in chance.sample(range(len(flowers)), len(flowers)):
        found = probabilities(weights, flowers[at])
        loss -= math.log(max(found[species.index(labels[at])], 1e-12))
        for number, likely in enumerate(found):
            error = likely - (species[number] == labels[at])
            weights[number] = [
                w - args.lr * error * x for w, x in zip(weights[number], [*flowers[at], 1.0])
            ]
    print(f"epoch {epoch} loss: {loss / len(flowers)}")

with open("model.json", "w") as file:
    json.dump({"species": species, "weights": weights}, file, indent=1)
