"""Train a random forest on the wines: python -m wine.train --trees 50."""

import argparse
import csv

from sklearn.ensemble import RandomForestClassifier

from wine.data import load


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trees", type=int, default=50)
    parser.add_argument("--max-depth", type=int, default=None, help="no limit unless given")
    parser.add_argument("--criterion", choices=["gini", "entropy"], default="gini")
    parser.add_argument("--test-size", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    train_x, test_x, train_y, test_y = load(args.test_size, args.seed)
    forest = RandomForestClassifier(
        n_estimators=args.trees,
        max_depth=args.max_depth,
        criterion=args.criterion,
        random_state=args.seed,
    )
    forest.fit(train_x, train_y)
    print(f"train accuracy: {forest.score(train_x, train_y)}")
    print(f"accuracy: {forest.score(test_x, test_y)}")
    with open("importances.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["feature", "importance"])
        writer.writerows(enumerate(forest.feature_importances_.tolist()))


if __name__ == "__main__":
    main()
