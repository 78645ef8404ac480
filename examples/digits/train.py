"""Train a support vector machine on scikit-learn's handwritten digits."""

import argparse

import joblib
import matplotlib
from sklearn.datasets import load_digits
from sklearn.metrics import ConfusionMatrixDisplay, accuracy_score, f1_score
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

matplotlib.use("Agg")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernel", default="rbf", choices=["linear", "poly", "rbf", "sigmoid"])
    parser.add_argument("-C", type=float, default=1.0, help="inverse strength of regularization")
    parser.add_argument("--gamma", type=float, default=0.001, help="width of the kernel")
    parser.add_argument("--test-size", type=float, default=0.25, help="share of images to test on")
    parser.add_argument("--seed", type=int, default=0, help="decides which images those are")
    return parser.parse_args()


def main():
    args = parse_arguments()
    digits = load_digits()
    train_x, test_x, train_y, test_y = train_test_split(
        digits.data,
        digits.target,
        test_size=args.test_size,
        random_state=args.seed,
        stratify=digits.target,
    )
    model = SVC(kernel=args.kernel, C=args.C, gamma=args.gamma)
    model.fit(train_x, train_y)
    predicted = model.predict(test_x)

    print(f"train accuracy: {model.score(train_x, train_y)}")
    print(f"accuracy: {accuracy_score(test_y, predicted)}")
    print(f"f1: {f1_score(test_y, predicted, average='macro')}")

    joblib.dump(model, "model.joblib")
    figure = ConfusionMatrixDisplay.from_predictions(test_y, predicted, colorbar=False).figure_
    figure.savefig("confusion.png", dpi=80)


if __name__ == "__main__":
    main()
