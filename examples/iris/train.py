"""Tell three species of iris apart with softmax regression; needs nothing but Python."""

import argparse
import csv
import json
import math
import random


def read_flowers(path):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name != "species"]
    species = sorted({row["species"] for row in rows})
    flowers = [[float(row[name]) for name in names] for row in rows]
    return flowers, [species.index(row["species"]) for row in rows], species


def standardize(flowers):
    columns = list(zip(*flowers))
    means = [math.fsum(column) / len(column) for column in columns]
    spreads = [
        math.sqrt(math.fsum((x - mean) ** 2 for x in column) / len(column))
        for column, mean in zip(columns, means)
    ]
    return [[(x - m) / s for x, m, s in zip(row, means, spreads)] + [1.0] for row in flowers]


def probabilities(weights, flower):
    scores = [sum(w * x for w, x in zip(row, flower)) for row in weights]
    top = max(scores)
    powers = [math.exp(score - top) for score in scores]
    total = sum(powers)
    return [power / total for power in powers]


def accuracy(weights, flowers, labels):
    hits = 0
    for flower, label in zip(flowers, labels):
        chances = probabilities(weights, flower)
        hits += chances.index(max(chances)) == label
    return hits / len(labels)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lr", type=float, default=0.1, help="learning rate")
    parser.add_argument("--epochs", type=int, default=20, help="passes over the training set")
    parser.add_argument("--l2", type=float, default=0.0, help="weight decay")
    parser.add_argument("--test-size", type=float, default=0.3, help="share of flowers to test on")
    parser.add_argument("--seed", type=int, default=0, help="shuffles the flowers")
    args = parser.parse_args()

    flowers, labels, species = read_flowers("iris.csv")
    flowers = standardize(flowers)
    order = list(range(len(labels)))
    random.Random(args.seed).shuffle(order)
    cut = round(len(order) * args.test_size)
    test, train = order[:cut], order[cut:]

    weights = [[0.0] * len(flowers[0]) for _ in species]
    for epoch in range(1, args.epochs + 1):
        loss = 0.0
        for at in train:
            chances = probabilities(weights, flowers[at])
            loss -= math.log(chances[labels[at]])
            for number, chance in enumerate(chances):
                error = chance - (number == labels[at])
                weights[number] = [
                    w - args.lr * (error * x + args.l2 * w)
                    for w, x in zip(weights[number], flowers[at])
                ]
        print(f"epoch {epoch} loss: {loss / len(train)}")

    held_out = accuracy(weights, [flowers[at] for at in test], [labels[at] for at in test])
    print(f"accuracy: {held_out}")
    with open("model.json", "w") as file:
        json.dump({"species": species, "weights": weights}, file, indent=1)


if __name__ == "__main__":
    main()
