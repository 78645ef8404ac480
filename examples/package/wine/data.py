"""The wines: 178 bottles of three growers."""

from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split


def load(test_size, seed):
    wines = load_wine()
    return train_test_split(
        wines.data, wines.target, test_size=test_size, random_state=seed, stratify=wines.target
    )
