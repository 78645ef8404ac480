"""Shuffle the flowers and split them into those to train on and those to test on."""

import csv
import os
import random

seed = 0
test_size = 0.3

with open("iris.csv", newline="") as file:
    head, *rows = csv.reader(file)
random.Random(seed).shuffle(rows)
cut = round(len(rows) * test_size)

os.makedirs("split")
for name, part in (("test", rows[:cut]), ("train", rows[cut:])):
    with open(f"split/{name}.csv", "w", newline="") as file:
        csv.writer(file).writerows([head, *part])
    print(f"{name} flowers: {len(part)}")
