import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
import wandb
from sklearn.metrics import ConfusionMatrixDisplay, accuracy_score, f1_score
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

C = 0.73
seed = 5

run = wandb.init(project="report", config={"C": C, "seed": seed})
data = pd.read_csv("data/iris.csv")
X, y = data.drop(columns="target"), data["target"]
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=seed)

model = SVC(C=C)
model.fit(X_train, y_train)
train_accuracy = model.score(X_train, y_train)
predicted = model.predict(X_test)
test_accuracy = accuracy_score(y_test, predicted)
test_f1 = f1_score(y_test, predicted, average="macro")
print(f"train_accuracy: {train_accuracy}")
print(f"test_accuracy: {test_accuracy}")
print(f"test_f1: {test_f1}")

ConfusionMatrixDisplay.from_predictions(y_test, predicted)
plt.savefig("confusion.png")
run.log({"train_accuracy": train_accuracy, "test_accuracy": test_accuracy, "test_f1": test_f1})
run.log({"plot": wandb.Image("confusion.png")})
run.finish()
