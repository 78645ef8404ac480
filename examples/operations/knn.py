"""Tell three species of iris apart by their nearest neighbours; settings are in settings.toml."""

import csv
import random
import tomllib


def distance(one, other, metric):
    steps = [abs(a - b) for a, b in zip(one, other)]
    return sum(steps) if metric == "city" else sum(step * step for step in steps)


def vote(flower, known, k, metric):
    nearest = sorted(known, key=lambda other: distance(flower, other[0], metric))[:k]
    names = [species for _, species in nearest]
    return max(names, key=names.count)


def main():
    with open("settings.toml", "rb") as file:
        settings = tomllib.load(file)
    with open("iris.csv", newline="") as file:
        rows = list(csv.reader(file))[1:]
    flowers = [([float(x) for x in row[:-1]], row[-1]) for row in rows]
    random.Random(settings["seed"]).shuffle(flowers)
    cut = round(len(flowers) * settings["test_share"])
    test, known = flowers[:cut], flowers[cut:]

    k, metric = settings["neighbours"]["k"], settings["neighbours"]["metric"]
    told = [(flower, species, vote(flower, known, k, metric)) for flower, species in test]
    wrong = [item for item in told if item[1] != item[2]]
    print(f"{100 * (1 - len(wrong) / len(told)):.2f} % are told right")
    with open("mistakes.csv", "w", newline="") as file:
        csv.writer(file).writerows([*flower, species, guess] for flower, species, guess in wrong)


if __name__ == "__main__":
    main()
