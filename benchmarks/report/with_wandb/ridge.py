import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
import wandb
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error, r2_score
from sklearn.model_selection import train_test_split

alpha = 0.37
seed = 3

run = wandb.init(project="report", config={"alpha": alpha, "seed": seed})
data = pd.read_csv("data/diabetes.csv")
X, y = data.drop(columns="target"), data["target"]
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=seed)

model = Ridge(alpha=alpha)
model.fit(X_train, y_train)
train_r2 = model.score(X_train, y_train)
predicted = model.predict(X_test)
test_mse = mean_squared_error(y_test, predicted)
test_r2 = r2_score(y_test, predicted)
print(f"train_r2: {train_r2}")
print(f"test_mse: {test_mse}")
print(f"test_r2: {test_r2}")

plt.scatter(y_test, predicted)
plt.savefig("predicted.png")
run.log({"train_r2": train_r2, "test_mse": test_mse, "test_r2": test_r2})
run.log({"plot": wandb.Image("predicted.png")})
run.finish()
