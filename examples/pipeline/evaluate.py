"""How many of the test flowers each of the two tells right."""

import json

from flowers import nearest, probabilities, read_flowers

flowers, labels = read_flowers("split/test.csv")
with open("model.json") as file:
    model = json.load(file)
with open("means.json") as file:
    means = json.load(file)

told = []
for flower in flowers:
    found = probabilities(model["weights"], flower)
    told.append(model["species"][found.index(max(found))])
accuracy = sum(a == b for a, b in zip(told, labels)) / len(labels)
baseline = sum(nearest(means, f) == label for f, label in zip(flowers, labels)) / len(labels)

print(f"accuracy: {accuracy}")
print(f"baseline accuracy: {baseline}")
with open("results.json", "w") as file:
    json.dump({"flowers": len(labels), "accuracy": accuracy, "baseline": baseline}, file, indent=1)
