"""Predict the progression of diabetes with an elastic net, in cross-validation."""

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import ElasticNet
from sklearn.metrics import mean_squared_error, r2_score
from sklearn.model_selection import KFold

alpha = 0.01  # strength of regularization
l1_ratio = 0.5  # share of the absolute penalty in it
n_splits = 5
shuffle = True
seed = 42

data, target = load_diabetes(return_X_y=True)
folds = KFold(n_splits=n_splits, shuffle=shuffle, random_state=seed if shuffle else None)

scores = []
for fold, (train, test) in enumerate(folds.split(data), 1):
    model = ElasticNet(alpha=alpha, l1_ratio=l1_ratio)
    model.fit(data[train], target[train])
    predicted = model.predict(data[test])
    rmse = mean_squared_error(target[test], predicted) ** 0.5
    r2 = r2_score(target[test], predicted)
    scores.append(r2)
    print(f"step {fold} rmse: {rmse} r2: {r2}")

print(f"mean_r2: {np.mean(scores)}")
print(f"std_r2: {np.std(scores)}")
